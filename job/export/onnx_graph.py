"""ONNX, opset 17: `images` float32 [batch, size, size, 3] in RGB 0..255 to `probabilities` float32 [batch, classes]."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import tensorflow as tf
import tf2onnx
from tf2onnx.handler import tf_op

from job.export.export_input import ExportInput, from_pixels
from job.model import architecture

OPSET = 17
# What tf2onnx appends to the names that it makes, and the number of the output.
COUNTER = re.compile(r"(__\d+)*(:\d+)?$")


def write(subject: ExportInput, path: Path) -> None:
    """Convert the model with names of our own for its input and output."""
    layer = architecture.find_statistics(subject.model)
    if (
        layer is not None
    ):  # as tensors, as Keras keeps them, they would become inputs of the ONNX graph
        layer.mean, layer.variance = np.array(layer.mean), np.array(layer.variance)
    function = from_pixels(subject)
    with _inner_functions_inlined():
        model, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=OPSET)
    canonicalise(model.graph)
    path.write_bytes(model.SerializeToString(deterministic=True))


@contextmanager
def _inner_functions_inlined() -> Iterator[None]:
    """Keras wraps a grouped convolution, as ConvNeXt's, in a function compiled by XLA, for which ONNX has no node."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


@tf_op("Erfc")
class Erfc:
    """1 - Erf: TensorFlow makes the exact GELU from Erfc, for which neither tf2onnx nor ONNX has a node."""

    @classmethod
    def version_9(cls, graph: Any, node: Any, **_: Any) -> None:
        one = graph.make_const(f"{node.name}/one", np.array(1, np.float32))
        erf = graph.make_node("Erf", node.input)
        shapes, dtypes = node.output_shapes, node.output_dtypes
        graph.remove_node(node.name)
        graph.make_node(
            "Sub",
            [one.output[0], erf.output[0]],
            name=node.name,
            outputs=node.output,
            shapes=shapes,
            dtypes=dtypes,
        )


def canonicalise(graph: Any) -> None:
    """Order and name the nodes and constants of an ONNX graph by its structure alone, in place.

    tf2onnx walks sets of objects, whose order differs from process to process: the same arithmetic
    under other names.
    """
    makers = {tensor: node for node in graph.node for tensor in node.output}
    constants = {constant.name: constant for constant in graph.initializer}
    order = _order(graph, makers)
    names = {place.name: place.name for place in [*graph.input, *graph.output]}
    for index, tensor in enumerate(order):
        base = "constant" if tensor in constants else COUNTER.sub("", tensor)
        names.setdefault(tensor, f"{base}__{index}")
    used = [constants[tensor] for tensor in order if tensor in constants]
    nodes = list(
        {id(makers[tensor]): makers[tensor] for tensor in order if tensor in makers}.values()
    )
    for constant in used:
        constant.name = names[constant.name]
    for node in nodes:
        node.input[:] = [names.get(tensor, tensor) for tensor in node.input]
        node.output[:] = [names.get(tensor, tensor) for tensor in node.output]
        node.name = node.output[0]
    _replace(graph.initializer, used)
    _replace(graph.node, nodes)
    for dimension in (
        each for place in [*graph.input, *graph.output] for each in place.type.tensor_type.shape.dim
    ):
        if dimension.dim_param:
            dimension.dim_param = "batch"
    graph.doc_string = ""  # the number of a function
    del graph.value_info[
        :
    ]  # shapes of what lies between, under the old names; any runtime infers them


def _order(graph: Any, makers: Mapping[str, Any]) -> list[str]:
    """The tensors that the outputs need, each after those that it is made from."""
    done: dict[str, None] = {}
    open_tensors = [output.name for output in graph.output]
    while open_tensors:
        maker = makers.get(open_tensors[-1])
        missing = [
            tensor for tensor in (maker.input if maker else ()) if tensor and tensor not in done
        ]
        if missing:
            open_tensors.append(missing[0])
        else:
            done[open_tensors.pop()] = None
    return list(done)


def _replace(field: Any, messages: list[Any]) -> None:
    """Put other messages into a repeated field; copied first, for they may lie in it."""
    copies = [type(message).FromString(message.SerializeToString()) for message in messages]
    del field[:]
    field.extend(copies)


def run(subject: ExportInput, path: Path) -> npt.NDArray[np.float32]:
    """The written graph's probabilities for the pixels in ONNX Runtime, [batch, classes]."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # so that the measured drift is the same on every node
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"images": subject.pixels})[0]

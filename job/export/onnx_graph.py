"""Write ONNX, opset 17.

It maps `images` float32 [batch, size, size, 3] in RGB 0..255 to `probabilities` float32
[batch, classes].
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import tensorflow as tf
import tf2onnx
from tf2onnx.handler import tf_op

from job.export.export_input import Classify, ComparedImages, ExportInput, trace_model
from job.model import architecture

OPSET = 17
# What tf2onnx appends to the names that it makes, and the number of the output.
COUNTER = re.compile(r"(__\d+)*(:\d+)?$")


def prepare(export_input: ExportInput) -> Callable[[Path], None]:
    """Trace the model. Returns what converts it, with fixed names for its input and its output."""
    layer = architecture.find_statistics(export_input.model)
    if layer is not None:
        # Keras keeps them as tensors, which would become inputs of the ONNX graph.
        layer.mean = np.array(layer.mean)
        layer.variance = np.array(layer.variance)
    with _trace_through():
        function = trace_model(export_input)

    def write(path: Path) -> None:
        with _trace_through():
            model, _ = tf2onnx.convert.from_function(
                function,
                function.input_signature,
                opset=OPSET,
            )
        canonicalise(model.graph)
        # The maps of the message would otherwise be in any order.
        content = model.SerializeToString(deterministic=True)
        path.write_bytes(content)

    return write


@contextmanager
def _trace_through() -> Iterator[None]:
    """Trace through the functions inside a model.

    Keras wraps a grouped convolution, as in ConvNeXt, in a function compiled by XLA. ONNX has no
    node for such a function.
    """
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def load(path: Path) -> Classify:
    """Load the written graph. Returns what computes its probabilities, [batch, classes]."""
    options = onnxruntime.SessionOptions()
    # The order of sums, and so the measured difference, is the same on every node.
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(path),
        options,
        providers=["CPUExecutionProvider"],
    )

    def classify(images: ComparedImages) -> npt.NDArray[np.float32]:
        (probabilities,) = session.run(["probabilities"], {"images": images.pixels})
        return probabilities

    return classify


@tf_op("Erfc")
class Erfc:
    """Convert Erfc as 1 - Erf.

    TensorFlow makes the exact GELU from Erfc, for which neither tf2onnx nor ONNX has a node.
    """

    @classmethod
    def version_9(cls, graph: Any, node: Any, **_: Any) -> None:
        one = graph.make_const(f"{node.name}/one", np.array(1, np.float32))
        erf = graph.make_node("Erf", node.input)
        # Read before the node is removed, which loses them.
        shapes = node.output_shapes
        dtypes = node.output_dtypes
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

    tf2onnx iterates over sets of objects, whose order differs from process to process. The result
    is the same arithmetic under other names.
    """
    makers = {tensor: node for node in graph.node for tensor in node.output}
    constants = {constant.name: constant for constant in graph.initializer}
    order = _sort_tensors(graph, makers)
    names = _name_tensors(graph, order, constants)

    used_constants = []
    # Keyed by identity: a node with several outputs occurs once for each of them.
    used_nodes: dict[int, Any] = {}
    for tensor in order:
        if tensor in constants:
            used_constants.append(constants[tensor])
        elif tensor in makers:
            node = makers[tensor]
            used_nodes[id(node)] = node

    for constant in used_constants:
        constant.name = names[constant.name]
    for node in used_nodes.values():
        # The name of an absent optional input is empty, and stays so.
        node.input[:] = [names.get(tensor, tensor) for tensor in node.input]
        node.output[:] = [names.get(tensor, tensor) for tensor in node.output]
        node.name = node.output[0]
    _replace_messages(graph.initializer, used_constants)
    _replace_messages(graph.node, list(used_nodes.values()))

    for place in [*graph.input, *graph.output]:
        for dimension in place.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = "batch"
    # It names a function by a number that counts up within a process.
    graph.doc_string = ""
    # Shapes of the tensors between, under their old names. Every runtime infers them.
    del graph.value_info[:]


def _sort_tensors(graph: Any, makers: Mapping[str, Any]) -> list[str]:
    """List the tensors that the outputs need, each after those that it is made from."""
    # A dictionary instead of a set: it keeps the order.
    done: dict[str, None] = {}
    # A stack instead of recursion: the deepest backbones exceed Python's limit.
    pending = [output.name for output in graph.output]
    while pending:
        maker = makers.get(pending[-1])
        needed = maker.input if maker else ()
        missing = None
        for tensor in needed:
            if tensor and tensor not in done:
                missing = tensor
                break
        if missing:
            pending.append(missing)
        else:
            tensor = pending.pop()
            done[tensor] = None
    return list(done)


def _name_tensors(graph: Any, order: list[str], constants: Mapping[str, Any]) -> dict[str, str]:
    """Map each tensor's name to its new one. Those of the graph's inputs and outputs stay."""
    names = {}
    for place in [*graph.input, *graph.output]:
        names[place.name] = place.name
    for index, tensor in enumerate(order):
        base = "constant"
        if tensor not in constants:
            base = COUNTER.sub("", tensor)
        names.setdefault(tensor, f"{base}__{index}")
    return names


def _replace_messages(field: Any, messages: list[Any]) -> None:
    """Put other messages into a repeated field."""
    # Copied first, because they may be in the field that is cleared.
    copies = []
    for message in messages:
        content = message.SerializeToString()
        copies.append(type(message).FromString(content))
    del field[:]
    field.extend(copies)

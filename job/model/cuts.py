"""Where a backbone can be cut in two: where a single tensor carries everything that comes after."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf, prod
from typing import Any

import keras

# Between a lower-case letter and a capital, and before the last capital of an abbreviation.
WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A tensor that divides the backbone into a trunk below and a top above.

    Attributes:
        name: depth and layer; equal in every process, whatever was built before.
        depth: how many steps of the network are below, counted from the images.
        shape: of the tensor without the batch, [height, width, channels].
        parameters_below: numbers in the weights of the trunk.
        parameters_above: numbers in the weights of the top.
        size: the tensor's height in pixels of its own grid.
        tensor: the symbolic tensor itself.
    """

    name: str
    depth: int
    shape: tuple[int, ...]
    parameters_below: int
    parameters_above: int
    size: int
    tensor: Any = field(repr=False, compare=False)


def find_cuts(backbone: keras.Model) -> tuple[Cut, ...]:
    """Find every cut that leaves something to freeze below it.

    They go from the images to the feature map, which is the last one.
    """
    total = backbone.count_params()
    found = []
    for depth, operation, tensor, below in _find_bottlenecks(backbone):
        if below:
            cut = Cut(
                name=f"{depth:03d}_{_name_stably(operation)}",
                depth=depth,
                shape=tuple(tensor.shape[1:]),
                parameters_below=below,
                parameters_above=total - below,
                size=tensor.shape[1],
                tensor=tensor,
            )
            found.append(cut)
    return tuple(found)


def _find_bottlenecks(backbone: keras.Model) -> Iterator[tuple[int, Any, Any, int]]:
    """Walk the graph from the images on, and stop where exactly one tensor is still needed.

    Yields:
        (steps walked, operation, its tensor, parameters so far)
    """
    nodes: list[Any] = []
    # Keras counts the depth from the outputs on.
    for depth in sorted(backbone._nodes_by_depth, reverse=True):
        nodes.extend(backbone._nodes_by_depth[depth])

    last_use: dict[int, float] = {}
    for step, node in enumerate(nodes):
        for tensor in node.input_tensors:
            last_use[id(tensor)] = step
    # The top needs the feature map to the end.
    last_use[id(backbone.output)] = inf

    needed: dict[int, Any] = {}
    # By operation: a layer that is used twice has its weights once.
    parameters: dict[int, int] = {}
    for step, node in enumerate(nodes):
        for tensor in node.outputs:
            needed[id(tensor)] = tensor
        for key in list(needed):
            if last_use[key] <= step:
                del needed[key]
        weights = getattr(node.operation, "weights", ())
        parameters[id(node.operation)] = sum(prod(weight.shape) for weight in weights)
        if len(needed) == 1:
            (tensor,) = needed.values()
            yield step, node.operation, tensor, sum(parameters.values())


def _name_stably(operation: Any) -> str:
    """The operation's name without the number that Keras counts up for nameless ones."""
    kind = WORD_BOUNDARY.sub("_", type(operation).__name__).lower()
    return kind if re.fullmatch(rf"{kind}(_\d+)?", operation.name) else operation.name

"""Where a backbone can be cut in two: each place where a single tensor carries everything that comes after it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf, prod
from typing import Any

import keras


@dataclass(frozen=True, slots=True)
class Cut:
    """A tensor that divides the backbone into a trunk below and a top above.

    Attributes:
        name: depth and layer; equal in every process, whatever was built before.
        depth: how many steps of the network lie below, counted from the images.
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


def find(backbone: keras.Model) -> tuple[Cut, ...]:
    """Every cut that leaves something to freeze below it, from the images to the feature map, which is the last one."""
    total = backbone.count_params()
    return tuple(
        Cut(
            name=f"{depth:03d}_{_stable_name(operation)}",
            depth=depth,
            shape=tuple(tensor.shape[1:]),
            parameters_below=below,
            parameters_above=total - below,
            size=tensor.shape[1],
            tensor=tensor,
        )
        for depth, operation, tensor, below in _bottlenecks(backbone)
        if below
    )


def _bottlenecks(backbone: keras.Model) -> Iterator[tuple[int, Any, Any, int]]:
    """Walk the graph from the images on, and stop where exactly one tensor is still needed."""
    nodes = [
        node
        for _, level in sorted(backbone._nodes_by_depth.items(), reverse=True)
        for node in level
    ]
    last_use: dict[int, float] = {
        id(t): step for step, node in enumerate(nodes) for t in node.input_tensors
    }
    last_use[id(backbone.output)] = inf
    alive: dict[int, Any] = {}
    seen: dict[int, int] = {}
    for step, node in enumerate(nodes):
        alive.update((id(tensor), tensor) for tensor in node.outputs)
        alive = {key: tensor for key, tensor in alive.items() if last_use[key] > step}
        seen[id(node.operation)] = sum(
            prod(v.shape) for v in getattr(node.operation, "weights", ())
        )
        if len(alive) == 1:
            yield step, node.operation, next(iter(alive.values())), sum(seen.values())


def _stable_name(operation: Any) -> str:
    """The operation's name, without the number that Keras gives to nameless ones in the order of their making."""
    kind = re.sub(
        r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(operation).__name__
    ).lower()
    return kind if re.fullmatch(rf"{kind}(_\d+)?", operation.name) else operation.name

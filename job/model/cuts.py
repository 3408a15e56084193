"""Where a backbone can be cut in two: where a single tensor carries everything that comes after."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf, prod
from typing import Any

import keras

# Between a lower-case letter and a capital, and before the last capital of an abbreviation.
WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

# Inverted bottlenecks widen by 3 to 6 inside a block; from stage to stage a network widens by 2 at
# most.
WIDENING = 2


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
            # Keras counts up the names of nameless operations: this number is left out.
            kind = WORD_BOUNDARY.sub("_", type(operation).__name__).lower()
            name = operation.name
            if re.fullmatch(rf"{kind}(_\d+)?", name):
                name = kind
            cut = Cut(
                name=f"{depth:03d}_{name}",
                depth=depth,
                shape=tuple(tensor.shape[1:]),
                parameters_below=below,
                parameters_above=total - below,
                size=tensor.shape[1],
                tensor=tensor,
            )
            found.append(cut)
    return tuple(found)


def find_stage_ends(cuts: Sequence[Cut]) -> tuple[Cut, ...]:
    """Find the end of each resolution stage that something follows, from the images on.

    A stage is everything at one spatial size that has weights: the last pooling of VGG has none.
    The block that shrinks the picture belongs to the stage that it opens, and so does a layer that
    pads or widens the tensor for it.
    """
    # Where a layer pads, the size grows again for a moment: such cuts are inside a block.
    unpadded: list[Cut] = []
    last_of_size: dict[int, Cut] = {}
    for cut in cuts:
        if not unpadded or cut.size <= unpadded[-1].size:
            unpadded.append(cut)
            last_of_size[cut.size] = cut

    ends = []
    for size, last in last_of_size.items():
        if last.parameters_above:
            same_size = [cut for cut in unpadded if cut.size == size]
            ends.append(_find_narrow_end(same_size))
    return tuple(ends)


def _find_narrow_end(cuts: Sequence[Cut]) -> Cut:
    """The last of the cuts of one size, or the one before it if the last is a widened tensor."""
    chosen, *earlier = reversed(cuts)
    numbers = prod(chosen.shape)
    for cut in earlier:
        earlier_numbers = prod(cut.shape)
        if earlier_numbers != numbers:
            # A wide tensor belongs to the block that opens the next stage.
            widened = numbers > WIDENING * earlier_numbers
            return cut if widened else chosen
    return chosen


def _find_bottlenecks(backbone: keras.Model) -> Iterator[tuple[int, Any, Any, int]]:
    """Walk the graph from the images on, and stop where exactly one tensor is still needed.

    Yields:
        (steps walked, operation, its tensor, parameters so far)
    """
    nodes: list[Any] = []
    by_depth = backbone._nodes_by_depth
    # Keras counts the depth from the outputs on.
    for depth in sorted(by_depth, reverse=True):
        nodes.extend(by_depth[depth])

    last_use: dict[int, float] = {}
    for step, node in enumerate(nodes):
        for tensor in node.input_tensors:
            last_use[id(tensor)] = step
    # What comes after the backbone needs its output.
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
        operation = node.operation
        # An operation such as a sum has no such attribute.
        weights = getattr(operation, "weights", ())
        parameters[id(operation)] = sum(prod(weight.shape) for weight in weights)
        if len(needed) == 1:
            (tensor,) = needed.values()
            below = sum(parameters.values())
            yield step, operation, tensor, below

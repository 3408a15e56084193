"""Convert published weights of EfficientNet-Lite from PyTorch's format into Keras's.

    python -m tools.pretrained.conversion EfficientNetLite1 model.pth efficientnet_lite1.weights.h5

Values are copied, and kernels transposed. Nothing is computed, so that the same input always gives
the same bytes, and the catalogue can publish a hash of the result.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from job.catalogue import BACKBONES
from job.model import architecture
from job.model.efficientnet_lite import VARIANTS
from tools.pretrained.torch_file import TorchFileError, read_state_dict

# The names of our layers in efficientnet_pytorch, whose files carry the published weights.
TORCH_NAMES: Final = {
    "stem_conv": "_conv_stem",
    "stem_bn": "_bn0",
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "depthwise_conv": "_depthwise_conv",
    "depthwise_bn": "_bn1",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
    "head_conv": "_conv_head",
    "head_bn": "_bn1",
}
# In the order of Keras's weights: gamma, beta, moving mean, moving variance.
NORMALISATION_PARTS: Final = ("weight", "bias", "running_mean", "running_var")


class Destination(NamedTuple):
    """Where a tensor of the state dict goes, and the order of its axes there."""

    variable: Any
    axes: tuple[int, ...]


def convert(backbone: str, source: Path, target: Path) -> None:
    """Write the weights of a PyTorch file as a `.weights.h5` file without the classifier.

    Raises:
        TorchFileError: the file cannot be read, or its tensors are not exactly the backbone's.
    """
    entry = BACKBONES[backbone]
    network = architecture.construct(entry, entry.default_size)
    assign_tensors(network, read_state_dict(source))
    network.save_weights(target)


def assign_tensors(network: keras.Model, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Give each variable of the network its tensor. Every tensor is used exactly once.

    Raises:
        TorchFileError: a tensor is missing, superfluous, or of another shape.
    """
    destinations = dict(_list_destinations(network))
    given = set()
    for name in tensors:
        # The job has a classifier of its own, and only PyTorch's training counts the batches.
        if not name.startswith("_fc.") and not name.endswith(".num_batches_tracked"):
            given.add(name)
    if given != destinations.keys():
        differing = sorted(given ^ destinations.keys())
        raise TorchFileError(
            f"The file does not hold the weights of {network.name}. Received {len(given)} tensors; "
            f"expected {len(destinations)}. They differ in {', '.join(differing[:3])}."
        )
    for name, (variable, axes) in destinations.items():
        values = np.transpose(tensors[name], axes)
        if values.shape != tuple(variable.shape):
            raise TorchFileError(
                f"The file does not hold the weights of {network.name}. Received shape "
                f"{values.shape} for {name}; expected {tuple(variable.shape)}."
            )
        variable.assign(values)


def _list_destinations(network: keras.Model) -> Iterator[tuple[str, Destination]]:
    """List each variable of the network under the name of its tensor in the state dict."""
    for layer in network.layers:
        if not layer.weights:
            continue
        name = _translate_name(layer.name)
        if isinstance(layer, keras.layers.BatchNormalization):
            for variable, part in zip(layer.weights, NORMALISATION_PARTS, strict=True):
                yield f"{name}.{part}", Destination(variable, (0,))
        elif isinstance(layer, keras.layers.DepthwiseConv2D):
            # PyTorch's [channels, 1, h, w] becomes Keras's [h, w, channels, 1].
            yield f"{name}.weight", Destination(layer.kernel, (2, 3, 0, 1))
        else:
            # PyTorch's [out, in, h, w] becomes Keras's [h, w, in, out].
            yield f"{name}.weight", Destination(layer.kernel, (2, 3, 1, 0))


def _translate_name(layer_name: str) -> str:
    """Translate `block3_expand_bn` into `_blocks.3._bn0`, and `stem_conv` into `_conv_stem`."""
    within_block = re.fullmatch(r"block(\d+)_(\w+)", layer_name)
    if within_block is None:
        return TORCH_NAMES[layer_name]
    number, part = within_block.groups()
    return f"_blocks.{number}.{TORCH_NAMES[part]}"


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in VARIANTS:
        raise SystemExit(__doc__)
    try:
        convert(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    except TorchFileError as error:
        raise SystemExit(str(error)) from error

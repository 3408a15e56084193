"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation and with ReLU6, for the edge.

Architecture: EfficientNet (arXiv 1905.11946) and the EfficientNet-Lite of TensorFlow's TPU models.
Padding is "same", as in TensorFlow's original. Each layer is named after its block, so that tensors
from elsewhere find their place.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from job.errors import WeightsError


class BlockGroup(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM_CHANNELS: Final = 32
STAGES: Final = (
    BlockGroup(repeats=1, kernel=3, stride=1, expansion=1, channels=16),
    BlockGroup(repeats=2, kernel=3, stride=2, expansion=6, channels=24),
    BlockGroup(repeats=2, kernel=5, stride=2, expansion=6, channels=40),
    BlockGroup(repeats=3, kernel=3, stride=2, expansion=6, channels=80),
    BlockGroup(repeats=3, kernel=5, stride=1, expansion=6, channels=112),
    BlockGroup(repeats=4, kernel=5, stride=2, expansion=6, channels=192),
    BlockGroup(repeats=1, kernel=3, stride=1, expansion=6, channels=320),
)
HEAD_CHANNELS: Final = 1280


# The names of efficientnet_pytorch, whose files carry the published weights.
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


def features(pixels: Any) -> Any:
    """Preprocessed pixels [batch, side, side, 3] -> the feature map [batch, side / 32, side / 32, 1280]."""
    x = _convolution(pixels, STEM_CHANNELS, 3, 2, "stem")
    block = 0
    for stage in STAGES:
        for repeat in range(stage.repeats):
            x = _block(x, stage, stage.stride if repeat == 0 else 1, f"block{block}")
            block += 1
    return _convolution(x, HEAD_CHANNELS, 1, 1, "head")


def assign(network: keras.Model, tensors: Mapping[str, npt.NDArray[Any]], path: Path) -> None:
    """Fill the network with the tensors of an efficientnet_pytorch state dict; its 1000-way top is left out.

    Raises:
        WeightsError: a tensor is missing, is one too many, or has another shape than the
        architecture.
    """
    wanted = {name: (variable, axes) for name, variable, axes in _places(network)}
    given = {
        name
        for name in tensors
        if not name.startswith("_fc.") and not name.endswith(".num_batches_tracked")
    }
    if given != wanted.keys():
        raise _misfit(path, f"it differs in {', '.join(sorted(given ^ wanted.keys())[:3])}")
    for name, (variable, axes) in wanted.items():
        values = np.transpose(tensors[name], axes)
        if values.shape != tuple(variable.shape):
            raise _misfit(path, f"{name} has shape {tensors[name].shape}")
        variable.assign(values)


def _places(network: keras.Model) -> Iterator[tuple[str, Any, tuple[int, ...]]]:
    """Each variable with its name in the state dict, and how to transpose that tensor into ours."""
    for layer in network.layers:
        if not layer.weights:
            continue
        block, part = re.fullmatch(r"(?:block(\d+)_)?(\w+)", layer.name).groups()  # type: ignore[union-attr]
        name = f"_blocks.{block}.{TORCH_NAMES[part]}" if block else TORCH_NAMES[part]
        if isinstance(layer, layers.BatchNormalization):
            for variable, kind in zip(
                layer.weights, ("weight", "bias", "running_mean", "running_var"), strict=True
            ):
                yield f"{name}.{kind}", variable, (0,)
        else:  # PyTorch's OIHW to HWIO; a depthwise kernel's O is our I, and its I our multiplier
            depthwise = isinstance(layer, layers.DepthwiseConv2D)
            yield f"{name}.weight", layer.kernel, (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)


def _misfit(path: Path, detail: str) -> WeightsError:
    return WeightsError(
        f"The weights file {path.name} is not EfficientNetLite0's: {detail}. Expected efficientnet_pytorch's tensors.",
        "Give the weights of this very backbone, or name the backbone that they belong to in GRAFT_BACKBONE_NAME.",
    )


def _block(x: Any, stage: BlockGroup, stride: int, name: str) -> Any:
    """A mobile inverted bottleneck: widen, filter each channel, narrow, and add the input where the shape allows."""
    entered, channels = x, x.shape[-1]
    if stage.expansion > 1:
        x = _convolution(x, channels * stage.expansion, 1, 1, f"{name}_expand")
    x = layers.DepthwiseConv2D(
        stage.kernel, stride, "same", use_bias=False, name=f"{name}_depthwise_conv"
    )(x)
    x = _activation(_normalise(x, f"{name}_depthwise"), f"{name}_depthwise")
    x = layers.Conv2D(
        stage.channels, 1, padding="same", use_bias=False, name=f"{name}_project_conv"
    )(x)
    x = _normalise(x, f"{name}_project")
    if stride == 1 and channels == stage.channels:
        x = layers.Add(name=f"{name}_add")([x, entered])
    return x


def _convolution(x: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
    x = layers.Conv2D(channels, kernel, stride, "same", use_bias=False, name=f"{name}_conv")(x)
    return _activation(_normalise(x, name), name)


def _normalise(x: Any, name: str) -> Any:
    return layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}_bn")(x)


def _activation(x: Any, name: str) -> Any:
    return layers.ReLU(6.0, name=f"{name}_relu")(x)

"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation and with ReLU6, for the edge.

Architecture: EfficientNet (arXiv 1905.11946) and the EfficientNet-Lite of TensorFlow's TPU models.
Padding is "same", as in TensorFlow's original. Each layer is named after its block, so that a
converter finds the place of each tensor.
"""

from typing import Any, Final, NamedTuple

from keras import layers


class BlockGroup(NamedTuple):
    """What the blocks of one stage share. Only the first of them applies the stride."""

    kernel: int
    stride: int
    expansion: int


class Variant(NamedTuple):
    """How often each stage repeats its block, and how many channels come out of it."""

    repeats: tuple[int, ...]
    channels: tuple[int, ...]


STAGES: Final = (
    BlockGroup(kernel=3, stride=1, expansion=1),
    BlockGroup(kernel=3, stride=2, expansion=6),
    BlockGroup(kernel=5, stride=2, expansion=6),
    BlockGroup(kernel=3, stride=2, expansion=6),
    BlockGroup(kernel=5, stride=1, expansion=6),
    BlockGroup(kernel=5, stride=2, expansion=6),
    BlockGroup(kernel=3, stride=1, expansion=6),
)
# Lite1 multiplies the depth of Lite0 by 1.1. Lite2 multiplies the depth by 1.2, the width by 1.1.
# Numbers of blocks are rounded up, numbers of channels to a multiple of 8. Stem, head and the depth
# of the first and the last stage are the same in all variants.
VARIANTS: Final = {
    "EfficientNetLite0": Variant(
        repeats=(1, 2, 2, 3, 3, 4, 1),
        channels=(16, 24, 40, 80, 112, 192, 320),
    ),
    "EfficientNetLite1": Variant(
        repeats=(1, 3, 3, 4, 4, 5, 1),
        channels=(16, 24, 40, 80, 112, 192, 320),
    ),
    "EfficientNetLite2": Variant(
        repeats=(1, 3, 3, 4, 4, 5, 1),
        channels=(16, 24, 48, 88, 120, 208, 352),
    ),
}
STEM_CHANNELS: Final = 32
HEAD_CHANNELS: Final = 1280


def build_feature_map(variant: Variant, pixels: Any) -> Any:
    """Build the layers of a variant without its classifier.

    Args:
        variant: one of `VARIANTS`.
        pixels: preprocessed pixels [batch, side, side, 3].

    Returns:
        The feature map [batch, side / 32, side / 32, 1280], with the side rounded up.
    """
    x = _add_convolution(
        pixels,
        STEM_CHANNELS,
        kernel=3,
        stride=2,
        name="stem",
    )
    # Blocks are numbered through all stages, so that each name occurs once.
    block = 0
    for stage, repeats, channels in zip(STAGES, variant.repeats, variant.channels, strict=True):
        for repeat in range(repeats):
            once = stage
            if repeat > 0:
                # The first block has narrowed the image.
                once = stage._replace(stride=1)
            x = _add_block(x, once, channels, name=f"block{block}")
            block += 1
    return _add_convolution(
        x,
        HEAD_CHANNELS,
        kernel=1,
        stride=1,
        name="head",
    )


def _add_block(x: Any, stage: BlockGroup, channels: int, name: str) -> Any:
    """Add a mobile inverted bottleneck: expand, filter each channel, project, and skip if possible.

    The skip needs an output of the same shape as the input.
    """
    entered = x
    entered_channels = x.shape[-1]

    if stage.expansion > 1:
        x = _add_convolution(
            x,
            entered_channels * stage.expansion,
            kernel=1,
            stride=1,
            name=f"{name}_expand",
        )

    depthwise = layers.DepthwiseConv2D(
        stage.kernel,
        stage.stride,
        "same",
        # The normalisation after it has an offset of its own.
        use_bias=False,
        name=f"{name}_depthwise_conv",
    )
    x = _add_normalisation(depthwise(x), f"{name}_depthwise")
    x = _add_activation(x, f"{name}_depthwise")

    projection = layers.Conv2D(
        channels,
        1,
        padding="same",
        use_bias=False,
        name=f"{name}_project_conv",
    )
    # Without an activation: ReLU6 would lose information in so few channels.
    x = _add_normalisation(projection(x), f"{name}_project")

    if stage.stride == 1 and entered_channels == channels:
        add = layers.Add(name=f"{name}_add")
        x = add([x, entered])
    return x


def _add_convolution(x: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
    """Add a convolution with normalisation and activation."""
    convolution = layers.Conv2D(
        channels,
        kernel,
        stride,
        "same",
        use_bias=False,
        name=f"{name}_conv",
    )
    x = _add_normalisation(convolution(x), name)
    return _add_activation(x, name)


def _add_normalisation(x: Any, name: str) -> Any:
    normalisation = layers.BatchNormalization(
        momentum=0.99,
        epsilon=1e-3,
        name=f"{name}_bn",
    )
    return normalisation(x)


def _add_activation(x: Any, name: str) -> Any:
    activation = layers.ReLU(6.0, name=f"{name}_relu")
    return activation(x)

"""The pixels that a backbone expects, made inside the graph by layers that plain Keras knows.

Each mode is what `preprocess_input` of the backbone's module does to RGB pixels between 0 and 255,
or what the backbone's own first layers do where that function does nothing.
"""

from typing import Any, Final

import keras

from job.catalogue import PixelRange

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION: Final = (0.229, 0.224, 0.225)
# Caffe's models were trained on pixels between 0 and 255, in the order blue, green, red.
CAFFE_MEAN_BGR: Final = (103.939, 116.779, 123.68)

# The modes that change the pixels. The catalogue's generator compares each with Keras's own.
MODES: Final[tuple[PixelRange, ...]] = ("tf", "tf128", "torch", "caffe", "lite")


def apply(mode: PixelRange, images: Any) -> Any:
    """Turn images [batch, height, width, 3], RGB between 0 and 255, into what the backbone expects.

    "tf" and "tf128" scale to -1..1. "torch" standardises with ImageNet's mean and deviation.
    "caffe" subtracts the mean in the order BGR. "lite" is EfficientNet-Lite's (pixel - 127) / 128.
    "none" leaves the images as they are.
    """
    match mode:
        case "tf":
            return _rescale_pixels(images, 1 / 127.5, -1.0)
        case "tf128":
            return _rescale_pixels(images, 1 / 128, -1.0)
        case "lite":
            return _rescale_pixels(images, 1 / 128, -127 / 128)
        case "torch":
            # (pixel / 255 - mean) / deviation as one product and one sum.
            scale = []
            offset = []
            for mean, deviation in zip(IMAGENET_MEAN, IMAGENET_DEVIATION, strict=True):
                scale.append(1 / (255 * deviation))
                offset.append(-mean / deviation)
            return _rescale_pixels(images, scale, offset)
        case "caffe":
            reversed_channels = keras.ops.flip(images, axis=-1)
            offset = [-mean for mean in CAFFE_MEAN_BGR]
            return _rescale_pixels(reversed_channels, 1.0, offset)
        case "none":
            return images


def _rescale_pixels(images: Any, scale: float | list[float], offset: float | list[float]) -> Any:
    rescaling = keras.layers.Rescaling(
        scale,
        offset,
        # Whatever the network's precision is: bfloat16 would round a pixel of 200.5 to 200.
        dtype="float32",
        name="preprocessing",
    )
    return rescaling(images)

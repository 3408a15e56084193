"""The pixels that a backbone expects, made inside the graph by layers that plain Keras knows.

Each mode is what `preprocess_input` of the backbone's module does to RGB pixels between 0 and 255,
or what the backbone's own first layers do where that function does nothing. It runs in float32
whatever the precision of the network is: bfloat16 would round a pixel of 200.5 to 200.
"""

from typing import Any, Final

import keras

from job.catalogue import PixelRange

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION: Final = (0.229, 0.224, 0.225)
# Not the mean above times 255: Caffe's models were trained on pixels between 0 and 255 in the order
# blue, green, red.
CAFFE_MEAN_BGR: Final = (103.939, 116.779, 123.68)

MODES: Final[tuple[PixelRange, ...]] = ("tf", "tf128", "torch", "caffe", "lite")


def apply(mode: PixelRange, images: Any) -> Any:
    """Images [batch, height, width, 3], RGB between 0 and 255, as the backbone expects them.

    "tf" and "tf128" scale to -1..1, "torch" standardises with ImageNet's mean and deviation,
    "caffe" subtracts the mean in the order BGR, "lite" is EfficientNet-Lite's, and "none" leaves
    the images as they are.
    """
    match mode:
        case "tf":
            return _rescale(images, 1 / 127.5, -1.0)
        case "tf128":
            return _rescale(images, 1 / 128, -1.0)
        case "lite":
            return _rescale(images, 1 / 128, -127 / 128)
        case "torch":
            scale = [1 / (255 * deviation) for deviation in IMAGENET_DEVIATION]
            pairs = zip(IMAGENET_MEAN, IMAGENET_DEVIATION, strict=True)
            offset = [-mean / deviation for mean, deviation in pairs]
            return _rescale(images, scale, offset)
        case "caffe":
            bgr = keras.ops.flip(images, axis=-1)
            return _rescale(bgr, 1.0, [-mean for mean in CAFFE_MEAN_BGR])
        case "none":
            return images


def _rescale(images: Any, scale: float | list[float], offset: float | list[float]) -> Any:
    return keras.layers.Rescaling(scale, offset, dtype="float32", name="preprocessing")(images)

"""Backbones built by code, with their preprocessing inside and random weights."""

import inspect
from pathlib import Path
from typing import Any

import keras
import numpy as np

from job.catalogue import Backbone
from job.errors import SettingsError, WeightsError
from job.model import efficientnet_lite, preprocessing


def construct(entry: Backbone, size: int) -> keras.Model:
    """Build the feature extractor of a backbone.

    Args:
        entry: its row in the catalogue.
        size: side of the square input in pixels.

    Returns:
        images float32 [batch, size, size, 3], RGB 0..255 -> feature map [batch, h, w, channels].

    Raises:
        SettingsError: the images are smaller than the backbone takes.
    """
    least = entry.least_size
    if size < least:
        raise SettingsError(
            f"{entry.name} takes images from {least} x {least} pixels on. Received {size}.",
            f"Set GRAFT_BACKBONE_IMAGE_SIZE to {least} or more; {entry.default_size} is its own "
            "size.",
        )
    images = keras.Input((size, size, 3), dtype="float32", name="images")
    pixels = preprocessing.apply(entry.mode, images)
    variant = efficientnet_lite.VARIANTS.get(entry.name)
    if variant is not None:
        feature_map = efficientnet_lite.build_feature_map(variant, pixels)
    else:
        application = getattr(keras.applications, entry.name)
        options: dict[str, Any] = {
            "include_top": False,
            "weights": None,
            "input_tensor": pixels,
            "input_shape": pixels.shape[1:],
        }
        parameters = inspect.signature(application).parameters
        if "include_preprocessing" in parameters:
            # Ours runs in float32, whatever the precision of the network is.
            options["include_preprocessing"] = False
        feature_map = application(**options).output
    network = keras.Model(images, feature_map, name=entry.name.lower())
    set_imagenet_statistics(network)
    return network


def find_statistics(network: keras.Model) -> Any:
    """The layer of EfficientNet B0-B7 whose weights are the mean and variance of ImageNet.

    None for every other backbone.
    """
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            return layer
    return None


def set_imagenet_statistics(network: keras.Model) -> None:
    """Give that layer ImageNet's statistics: they are part of the architecture.

    Keras's published files hold the deviation where the variance belongs
    (tensorflow/tensorflow#49930), which `keras.applications` corrects by one more layer, but only
    for these very files. And the layer computes with copies that an assignment to its variables
    does not reach. Here it is right from the start, whatever weights come later.
    """
    layer = find_statistics(network)
    if layer is None:
        return
    place = network.layers.index(layer)
    for early in network.layers[: place + 1]:
        # These layers are preprocessing, which is float32 like our own.
        early.dtype_policy = "float32"
    variance = np.square(preprocessing.IMAGENET_DEVIATION)
    layer.adapt_mean.assign(preprocessing.IMAGENET_MEAN)
    layer.adapt_variance.assign(variance)
    # It makes the copies that the layer computes with.
    layer.finalize_state()


def check_statistics(network: keras.Model, path: Path) -> None:
    """Check the statistics that were read from a file, then set the right ones again.

    They must be ImageNet's, as published or as they should be.

    Raises:
        WeightsError: they are others, so that the file's network sees its pixels in another way.
    """
    layer = find_statistics(network)
    if layer is None:
        return
    mean = layer.adapt_mean.numpy()
    variance = layer.adapt_variance.numpy()
    expected_mean = preprocessing.IMAGENET_MEAN
    deviation = np.array(preprocessing.IMAGENET_DEVIATION)
    same_mean = np.allclose(mean, expected_mean, atol=1e-3)
    as_published = np.allclose(variance, deviation, atol=1e-3)
    as_it_should_be = np.allclose(variance, deviation**2, atol=1e-3)
    if not same_mean or not (as_published or as_it_should_be):
        raise WeightsError(
            f"The weights file {path.name} normalises its pixels with mean {mean} and variance "
            f"{variance}; expected ImageNet's {expected_mean} and "
            f"{preprocessing.IMAGENET_DEVIATION}.",
            "Give weights that were trained from Keras's own, which keep ImageNet's statistics.",
        )
    set_imagenet_statistics(network)

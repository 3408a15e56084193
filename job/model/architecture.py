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
    """The feature extractor: images float32 [batch, size, size, 3], RGB 0..255 -> feature map [batch, h, w, channels].

    Raises:
        SettingsError: the images are smaller than the backbone takes.
    """
    if size < entry.least_size:
        raise SettingsError(
            f"{entry.name} takes images from {entry.least_size} x {entry.least_size} pixels on. Received {size}.",
            f"Set GRAFT_BACKBONE_IMAGE_SIZE to {entry.least_size} or more; {entry.default_size} is its own size.",
        )
    images = keras.Input((size, size, 3), dtype="float32", name="images")
    feature_map = _features(entry.name, preprocessing.apply(entry.mode, images))
    network = keras.Model(images, feature_map, name=entry.name.lower())
    settle(network)
    return network


def _features(name: str, pixels: Any) -> Any:
    if name in efficientnet_lite.VARIANTS:
        return efficientnet_lite.build_feature_map(efficientnet_lite.VARIANTS[name], pixels)
    application = getattr(keras.applications, name)
    options: dict[str, Any] = {"include_top": False, "weights": None, "input_tensor": pixels}
    if "include_preprocessing" in inspect.signature(application).parameters:
        options["include_preprocessing"] = (
            False  # ours runs in float32 whatever the precision of the network is
        )
    return application(**options, input_shape=pixels.shape[1:]).output


def statistics(network: keras.Model) -> Any:
    """The layer of EfficientNet B0-B7 that keeps the mean and variance of ImageNet among its weights; else None."""
    return next(
        (x for x in network.layers if isinstance(x, keras.layers.Normalization) and x.weights), None
    )


def settle(network: keras.Model) -> None:
    """Give that layer ImageNet's statistics, whatever weights come later: they are part of the architecture.

    Keras's published files hold the deviation where the variance belongs
    (tensorflow/tensorflow#49930), which `keras.applications` mends by one more layer, but only for
    these very files. And the layer computes with copies that an assignment to its variables does
    not reach. Here it is right from the start and stays so.
    """
    layer = statistics(network)
    if layer is not None:
        for early in network.layers[: network.layers.index(layer) + 1]:
            early.dtype_policy = "float32"  # like our own preprocessing
        layer.adapt_mean.assign(preprocessing.IMAGENET_MEAN)
        layer.adapt_variance.assign(np.square(preprocessing.IMAGENET_DEVIATION))
        layer.finalize_state()


def check_statistics(network: keras.Model, path: Path) -> None:
    """After a file was read: its statistics are ImageNet's, as published or as they should be. Then settle again.

    Raises:
        WeightsError: they are others, so that the file's network sees its pixels in another way.
    """
    layer = statistics(network)
    if layer is None:
        return
    mean, variance = layer.adapt_mean.numpy(), layer.adapt_variance.numpy()
    deviation = np.array(preprocessing.IMAGENET_DEVIATION)
    known = any(np.allclose(variance, usual, atol=1e-3) for usual in (deviation, deviation**2))
    if not known or not np.allclose(mean, preprocessing.IMAGENET_MEAN, atol=1e-3):
        raise WeightsError(
            f"The weights file {path.name} normalises its pixels with mean {mean} and variance {variance}; "
            f"expected ImageNet's {preprocessing.IMAGENET_MEAN} and {preprocessing.IMAGENET_DEVIATION}.",
            "Give weights that were trained from Keras's own, which keep ImageNet's statistics.",
        )
    settle(network)

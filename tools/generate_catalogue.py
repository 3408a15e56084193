"""Write job/catalogue.json from the installed Keras, or check that it is fresh.

Keras does not publish its table of weights files. So each application is built once with
`weights="imagenet"` while two functions that it calls on the way are watched: the one that checks
the image size and the one that fetches the file.

    python -m tools.generate_catalogue [--check]
"""

import inspect
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras.src.applications import imagenet_utils
from keras.src.utils import file_utils

from job.catalogue import Backbone, PixelRange
from job.model import efficientnet_lite, preprocessing
from tools.paths import ROOT

TABLE = ROOT / "job" / "catalogue.json"

# As Keras's documentation and the model's authors state them; the longest matching beginning of a
# name wins.
LICENCES = {
    "ConvNeXt": "MIT",
    "DenseNet": "BSD-3-Clause",
    "EfficientNet": "Apache-2.0",
    "Inception": "Apache-2.0",
    "MobileNet": "Apache-2.0",
    "NASNet": "Apache-2.0",
    "ResNet": "MIT",
    "VGG": "CC-BY-4.0",
    "Xception": "MIT",
}


# EfficientNet-Lite is not in keras.applications. The image side is its authors'. The hash is that
# of the file that `tools.pretrained` makes of the published weights.
EFFICIENTNET_LITE = {
    "EfficientNetLite0": (224, "c5179e8b4b7f399223adab07124d2e886b71f3cbdcde54c3e42dcbb525cb8a44"),
    "EfficientNetLite1": (240, "00c730b99fdca99f29a870402f3553fe829d41e4e4ca98e55b5124f9543fdebf"),
    "EfficientNetLite2": (260, "5a9ec024b6def616d984500dbca7e11c93a27cfbd01f5de4c648d0064e9a2290"),
}


def applications() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every image classifier of keras.applications: a function that can leave its top out."""
    for name, function in sorted(vars(keras.applications).items()):
        if inspect.isfunction(function) and "include_top" in inspect.signature(function).parameters:
            yield name, function


def describe(name: str, function: Callable[..., Any]) -> Backbone:
    """Builds the application without its top and notes what it asks of Keras."""
    # MobileNetV3 does not call the common check of the size; its own has the same limit.
    seen: dict[str, Any] = {"least_size": 32, "default_size": 224}
    check_shape = imagenet_utils.obtain_input_shape

    def obtain_input_shape(
        input_shape: Any, default_size: int, min_size: int, **others: Any
    ) -> Any:
        seen.update(least_size=min_size, default_size=default_size)
        return check_shape(input_shape, default_size=default_size, min_size=min_size, **others)

    def get_file(fname: str, origin: str, file_hash: str | None = None, **_others: Any) -> str:
        seen.update(file=fname, origin=origin, file_hash=file_hash)
        return fname

    with ExitStack() as watching:
        watching.enter_context(
            warnings.catch_warnings(action="ignore")
        )  # "Weights for (224, 224) will be loaded."
        watching.enter_context(
            patch.object(imagenet_utils, "obtain_input_shape", obtain_input_shape)
        )
        watching.enter_context(patch.object(file_utils, "get_file", get_file))
        watching.enter_context(patch.object(keras.Model, "load_weights", lambda *_: None))
        # Of known size, since NASNetLarge leaves blocks out where it is unknown; 224 is what names
        # MobileNet's file.
        network = function(include_top=False, input_shape=(224, 224, 3))
    return Backbone(
        name=name,
        mode=mode(function, network),
        licence=licence(name),
        tensors=len(network.weights),
        parameters=network.count_params(),
        **seen,
    )


def licence(name: str) -> str:
    """The licence of the published weights, as LICENCES has it."""
    if name.startswith("ResNet") and name.endswith("V2"):
        return "Apache-2.0"
    return next(terms for beginning, terms in LICENCES.items() if name.startswith(beginning))


def mode(function: Callable[..., Any], network: Any) -> PixelRange:
    """The preprocessing that this application asks for, found by what it does to some pixels."""
    pixels = np.arange(0, 256, 5, dtype="float32")[:51].reshape(1, 1, 17, 3)
    wanted = inspect.getmodule(function).preprocess_input(pixels.copy())  # type: ignore[union-attr]
    for layer in network.layers[1:]:
        if not isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization):
            break
        if layer.weights:  # The statistics lie in the weights file, so the layer has to stay.
            return "none"
        wanted = layer(wanted)
    image = keras.Input(pixels.shape[1:])
    for candidate in preprocessing.MODES:
        given = keras.Model(image, preprocessing.apply(candidate, image))(pixels)
        if np.allclose(given, wanted, rtol=1e-5, atol=1e-5):
            return candidate
    raise SystemExit(
        f"{network.name} preprocesses its images in a way that job.model.preprocessing lacks. "
        "Add it there."
    )


def describe_lite(name: str) -> Backbone:
    """Describe a backbone that Keras does not have: its file is converted, not downloaded."""
    default_size, file_hash = EFFICIENTNET_LITE[name]
    pixels = keras.Input((default_size, default_size, 3))
    variant = efficientnet_lite.VARIANTS[name]
    network = keras.Model(pixels, efficientnet_lite.build_feature_map(variant, pixels))
    return Backbone(
        name=name,
        least_size=32,
        default_size=default_size,
        mode="lite",
        file=f"efficientnet_{name.removeprefix('EfficientNet').lower()}.weights.h5",
        origin=None,
        file_hash=file_hash,
        licence=licence(name),
        tensors=len(network.weights),
        parameters=network.count_params(),
    )


def render() -> str:
    """The whole file: one line for each backbone."""
    rows = [describe_lite(name) for name in EFFICIENTNET_LITE]
    rows += [describe(name, function) for name, function in applications()]
    lines = [
        json.dumps({field: getattr(row, field) for field in Backbone.__slots__}) for row in rows
    ]
    return "[\n  " + ",\n  ".join(lines) + "\n]\n"


def main() -> None:
    """Write the file, or exit with a message when it is stale."""
    text = render()
    if "--check" not in sys.argv[1:]:
        TABLE.write_text(text, "utf-8")
    elif TABLE.read_text("utf-8") != text:
        raise SystemExit(
            "job/catalogue.json is stale: the installed Keras differs. Run `make generate`."
        )


if __name__ == "__main__":
    main()

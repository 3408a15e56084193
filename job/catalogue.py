"""The backbones: every image classifier of `keras.applications`, and EfficientNet-Lite.

The table is a data file, `catalogue.json`, generated from the installed Keras by
`tools/generate_catalogue.py`, so that a check of the settings knows each backbone in milliseconds
without importing TensorFlow.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Final, Literal

PixelRange = Literal["tf", "tf128", "torch", "caffe", "lite", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """What is known about a backbone before it is built.

    Attributes:
        name: its name in `keras.applications`, or `EfficientNetLite0`, `1` or `2`.
        least_size: the smallest image side that it accepts, in pixels.
        default_size: the image side that it was pre-trained at, in pixels.
        mode: the range and order of the pixels that it expects, see `job.model.preprocessing`;
            "none" where its own first layers convert them.
        file: the name of its published ImageNet-1k weights without the classifier, as Keras stores
            them.
        origin: the address that Keras downloads them from; None where they are converted
            and not downloaded.
        file_hash: their published MD5 (32 digits) or SHA-256 (64 digits); None where there is
            none.
        licence: the licence of these weights.
        tensors: the number of its weights, as arrays.
        parameters: the number of its weights, as numbers.
    """

    name: str
    least_size: int
    default_size: int
    mode: PixelRange
    file: str
    origin: str | None
    file_hash: str | None
    licence: str
    tensors: int
    parameters: int


TABLE = json.loads(resources.files("job").joinpath("catalogue.json").read_text("utf-8"))
# Read-only, because every importer shares it.
BACKBONES: Final[Mapping[str, Backbone]] = MappingProxyType(
    {row["name"]: Backbone(**row) for row in TABLE}
)

"""What the run sends to the exporting process, and what comes back. No TensorFlow here."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from job.settings import BackboneSettings, Formats, HeadSettings


class ExportRequest(BaseModel):
    """All that the exporting process needs beside the classifier's variables.

    Attributes:
        classes: class names in the order of the outputs.
        threads: CPU threads of one operation, as in training; 0 uses all cores.
        images: real images that the exports are compared on, at most `batch_size`.
        batch_size: images in each compared batch, filled by repeating `images`. Another batch size
            gives other last bits, because sums are taken in another order.
        tolerance: largest difference of a probability that SavedModel and .keras may show. It is 0
            where training's own probabilities come from this CPU in float32, else the rounding of
            the GPU's or of bfloat16's arithmetic.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: BackboneSettings
    head: HeadSettings
    classes: tuple[str, ...]
    formats: Formats
    seed: int = 0
    threads: int = 0
    images: tuple[Path, ...] = Field(min_length=1)
    batch_size: int = Field(32, ge=1)
    tolerance: float = Field(0.0, ge=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far one format is from the trained model on the request's images.

    Attributes:
        format: `saved_model`, `keras`, `onnx`, `litert`, or `preprocess` for the shipped
            preprocess.py followed by .keras.
        path: file or folder in the bundle.
        max_difference: largest absolute difference of a probability.
        top1_agreement: share of images with the same best class.
        bytes: size of the export on disk.
    """

    format: str
    path: str
    max_difference: float
    top1_agreement: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """The exports on disk, not yet published.

    Attributes:
        folder: that the files are in.
        files: their paths relative to the folder, sorted.
        parity: one entry per format, and one for preprocess.py. It depends on the request and the
            variables alone.
        seconds: wall time per format, the one value that differs from run to run.
    """

    folder: Path
    files: tuple[str, ...]
    parity: tuple[Parity, ...]
    seconds: dict[str, float]

"""What goes to the exporting process and what comes back. No TensorFlow here."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from job.settings import BackboneSettings, Formats, HeadSettings


class ExportRequest(BaseModel):
    """All that the exporting process needs beside the classifier's variables."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    backbone: BackboneSettings
    head: HeadSettings
    classes: tuple[str, ...]
    """Class names in the order of the outputs."""
    formats: Formats
    seed: int = 0
    threads: int = 0
    """CPU threads of one operation, as in training; 0 takes all cores."""
    images: tuple[Path, ...] = Field(min_length=1)
    """Real images that the exports are compared on, at most a batch of them; repeated until the batch is full."""
    batch_size: int = Field(32, ge=1)
    """Images in each comparing batch: another batch size gives other last bits (facts 3)."""
    tolerance: float = Field(0.0, ge=0)
    """Largest difference of a probability that SavedModel and .keras may show: 0 where training's own probabilities
    come from this CPU in float32, else the rounding of the GPU's or of bfloat16's arithmetic."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far one format is from the trained model on the request's images.

    Attributes:
        format: `saved_model`, `keras`, `onnx`, `litert`, or `preprocess` for the shipped
            preprocess.py before .keras.
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
        folder: where the files lie.
        files: their paths relative to the folder, sorted.
        drift: one entry a format, and one for preprocess.py; a pure function of the request and the
            variables.
        seconds: wall time a format; outside the promise of equal bytes.
    """

    folder: Path
    files: tuple[str, ...]
    drift: tuple[Parity, ...]
    seconds: dict[str, float]

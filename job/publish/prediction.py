"""Classify image files by a release: `graft predict RELEASE IMAGE…`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from job.errors import JobError
from job.publish.cache import bring
from job.publish.verification import open_release


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a release says about one image.

    Attributes:
        image: the file.
        top: (class, probability), best first; empty if the image could not be read.
        error: why it could not be read, else empty.
    """

    image: Path
    top: tuple[tuple[str, float], ...]
    error: str = ""

    @property
    def label(self) -> str | None:
        """The best class, or None if the image could not be read."""
        return self.top[0][0] if self.top else None


def predict(uri: str, images: Sequence[Path], cache: Path, top: int = 5) -> Iterator[Prediction]:
    """Classify image files by a release, or by a model's champion; an unreadable one does not stop the others.

    Args:
        uri: of a release or of a model.
        images: files of any format that training takes.
        cache: folder in which the release's SavedModel is kept.
        top: how many classes an image.

    Raises:
        ReleaseError: there is no intact release behind `uri`.
    """
    store, manifest = open_release(uri)
    folder = bring(store, manifest, "saved_model", cache)
    from job.publish.serving import Served

    served = Served(folder / "1")
    return (_predict(served, image, manifest.classes, top) for image in images)


def _predict(served: Any, image: Path, classes: tuple[str, ...], top: int) -> Prediction:
    try:
        probabilities = served.classify_one(image)
    except JobError as error:
        return Prediction(image, (), error.message)
    best = probabilities.argsort(kind="stable")[::-1][:top]
    return Prediction(image, tuple((classes[index], float(probabilities[index])) for index in best))

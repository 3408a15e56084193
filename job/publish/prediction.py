"""Classify image files by a release: `graft predict RELEASE IMAGE…`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from job.errors import JobError
from job.release import download_verified, open_release

if TYPE_CHECKING:
    from job.publish.serving import ServedModel


@dataclass(frozen=True, slots=True)
class Prediction:
    """The classes that a release predicts for one image.

    Attributes:
        image: the file.
        top: (class, probability), best first. Empty if the image could not be read.
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
    """Classify image files by a release. An unreadable one does not stop the others.

    Args:
        uri: of a release, or of a registry or its promoted.json, which mean the champion.
        images: files of any format that training takes.
        cache: folder in which the release's SavedModel is kept.
        top: how many classes are returned for each image.

    Raises:
        ReleaseError: there is no intact release behind `uri`.
    """
    store, manifest = open_release(uri)
    folder = download_verified(store, manifest, "saved_model", cache)

    # Imported here, because TensorFlow takes seconds: a wrong URI is refused before.
    from job.publish.serving import ServedModel

    model = ServedModel(folder / "1")
    # Not `yield`: what is wrong with the release is raised by this call, before the first image.
    return (_predict_image(model, image, manifest.classes, top) for image in images)


def _predict_image(
    model: "ServedModel", image: Path, classes: tuple[str, ...], top: int
) -> Prediction:
    try:
        probabilities = model.classify_one(image)
    except JobError as error:
        return Prediction(image, (), error.message)
    # Stable, so that equal probabilities have the same order on every machine.
    best = probabilities.argsort(kind="stable")[::-1][:top]
    found = []
    for index in best:
        probability = float(probabilities[index])
        found.append((classes[index], probability))
    return Prediction(image, tuple(found))

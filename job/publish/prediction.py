"""Classify images by a release: `graft predict RELEASE IMAGE…`."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from job.errors import JobError
from job.publish.image_sources import ImageSource
from job.release import download_verified, open_release

# Images that are read and classified at once.
BATCH = 32
NOT_DECODED = "is not an image that decodes; expected JPEG, PNG, BMP, GIF or WebP"


@dataclass(frozen=True, slots=True)
class Prediction:
    """The classes that a release predicts for one image.

    Attributes:
        image: its path or URI.
        top: (class, probability), best first. Empty if the image could not be read.
        error: why it could not be read, else empty.
    """

    image: str
    top: tuple[tuple[str, float], ...]
    error: str = ""

    @property
    def label(self) -> str | None:
        """The best class, or None if the image could not be read."""
        return self.top[0][0] if self.top else None


class Predictor:
    """The model of a release, loaded once.

    Attributes:
        uri: of the release itself, also if it was opened as the champion.
        classes: in the order of the outputs.
    """

    def __init__(self, uri: str, cache: Path, trust: bool = False) -> None:
        """Fetch and load the model.

        Args:
            uri: of a release, or of a registry or its promoted.json, which mean the champion.
            cache: folder in which the release's SavedModel is kept.
            trust: whether the model is run even if it may do more than compute.

        Raises:
            ReleaseError: there is no intact release behind `uri`, or its model is not one of
                Graft's.
        """
        store, manifest = open_release(uri)
        self.uri = store.uri
        self.classes = manifest.classes
        folder = download_verified(store, manifest, "saved_model", cache)

        # Imported here, because TensorFlow takes seconds: a wrong URI is refused before.
        from job.publish.serving import ServedModel

        self._model = ServedModel(folder / "1", len(self.classes), trust)

    def predict(self, images: Iterable[ImageSource], top: int = 5) -> Iterator[Prediction]:
        """Classify images in batches. One that cannot be read does not stop the others.

        Args:
            images: of any format that training takes.
            top: how many classes are returned for each image.
        """
        rest = iter(images)
        while batch := list(itertools.islice(rest, BATCH)):
            yield from self._predict_batch(batch, top)

    def _predict_batch(self, batch: list[ImageSource], top: int) -> Iterator[Prediction]:
        encoded: list[bytes] = []
        errors: dict[int, str] = {}
        for place, image in enumerate(batch):
            try:
                encoded.append(image.read())
            except OSError as error:
                errors[place] = f"cannot be read: {error.strerror}"
            except JobError as error:
                errors[place] = f"cannot be read: {error.message}"
        answers = iter(self._model.classify_readable(encoded))
        for place, image in enumerate(batch):
            probabilities = None if place in errors else next(answers)
            if probabilities is None:
                yield Prediction(image.name, (), errors.get(place, NOT_DECODED))
                continue
            # Stable, so that equal probabilities have the same order on every machine.
            best = probabilities.argsort(kind="stable")[::-1][:top]
            found = tuple((self.classes[index], float(probabilities[index])) for index in best)
            yield Prediction(image.name, found)


def predict(
    uri: str, images: Iterable[ImageSource], cache: Path, top: int = 5, trust: bool = False
) -> Iterator[Prediction]:
    """Classify images by a release. See `Predictor`.

    What is wrong with the release is raised by this call, before the first image.
    """
    return Predictor(uri, cache, trust).predict(images, top)

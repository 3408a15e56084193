"""Which images to label next: those of which a release is least sure (`graft rank`).

Uncertainty sampling: Lewis and Gale, 1994, https://arxiv.org/abs/cmp-lg/9407020. The probabilities
of a release are calibrated, so they can be compared between images.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from job.publish.image_sources import ImageSource
from job.publish.prediction import Prediction, Predictor

# So many classes are kept of each image.
SHOWN_CLASSES = 2

Uncertainty = Literal["entropy", "margin"]


@dataclass(frozen=True, slots=True)
class RankedImage:
    """An image, and how unsure the release is of it.

    Attributes:
        prediction: the two best classes.
        uncertainty: from 0, sure, to 1. None if the image could not be read.
        copy_of: the image with the same content that is ranked in place of this one, else empty.
    """

    prediction: Prediction
    uncertainty: float | None
    copy_of: str = ""


def rank(
    uri: str,
    images: Iterable[ImageSource],
    cache: Path,
    by: Uncertainty = "entropy",
    trust: bool = False,
) -> list[RankedImage]:
    """The images in the order in which their labels tell most, the most unsure first.

    Copies of one content come after all of them, and images that cannot be read come last.

    Args:
        uri: of a release, or of a registry or its promoted.json, which mean the champion.
        images: without labels.
        cache: folder in which the release's SavedModel is kept.
        by: `entropy` of all probabilities, as a share of the largest possible one, or `margin`, how
            near the second best class is to the best.
        trust: whether the model is run even if it may do more than compute.

    Raises:
        ReleaseError: there is no intact release behind `uri`, or its model fails.
    """
    predictor = Predictor(uri, cache, trust)
    measure = _compute_entropy if by == "entropy" else _compute_margin
    contents = _Contents()
    rows = []
    for prediction in predictor.predict(contents.watch(images), top=len(predictor.classes)):
        probabilities = [probability for _, probability in prediction.top]
        uncertainty = measure(probabilities) if probabilities else None
        shown = replace(prediction, top=prediction.top[:SHOWN_CLASSES])
        rows.append(RankedImage(shown, uncertainty, contents.copies.get(prediction.image, "")))
    # Equal ones stay in the order in which they came.
    return sorted(
        rows, key=lambda row: (row.uncertainty is None, bool(row.copy_of), -(row.uncertainty or 0))
    )


@dataclass(slots=True)
class _Contents:
    """Notes which images have the content of an earlier one.

    Attributes:
        copies: the first image of a content, by the name of a later one.
    """

    copies: dict[str, str] = field(default_factory=dict)
    _first: dict[bytes, str] = field(default_factory=dict)

    def watch(self, images: Iterable[ImageSource]) -> Iterator[ImageSource]:
        """The same images, whose contents are noted when they are read."""
        for image in images:
            yield replace(image, read=partial(self._read, image))

    def _read(self, image: ImageSource) -> bytes:
        content = image.read()
        first = self._first.setdefault(hashlib.sha256(content).digest(), image.name)
        if first != image.name:
            self.copies[image.name] = first
        return content


def _compute_entropy(probabilities: list[float]) -> float:
    """The entropy as a share of the largest one: 0 for one sure class, 1 for equal ones."""
    if len(probabilities) < 2:
        return 0.0
    terms = [value * math.log(value) for value in probabilities if value > 0]
    return abs(math.fsum(terms)) / math.log(len(probabilities))


def _compute_margin(probabilities: list[float]) -> float:
    """How near the second best class is to the best: 1 if both are equal. Best first."""
    best, second = (*probabilities, 0.0)[:2]
    return 1 - (best - second)

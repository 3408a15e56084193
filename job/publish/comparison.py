"""The champion judged again on today's test images, as far as it has not learnt from them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from job.publish import inventory as inventories
from job.publish.cache import bring
from job.publish.manifest import Manifest
from job.storage import Store

if TYPE_CHECKING:
    from job.audit import Example

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Challenger:
    """What the new model says about today's test images.

    Attributes:
        classes: today's class names in the order of the outputs.
        examples: the test images.
        probabilities: float32 [len(examples), len(classes)].
    """

    classes: tuple[str, ...]
    examples: Sequence["Example"]
    probabilities: FloatArray


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both models on the same images.

    Attributes:
        run_id: the champion's.
        metric: name of the score.
        challenger, champion: their scores on the comparable images; None if there are none.
        low, high: paired 95 % interval of challenger minus champion; None if there are no images.
        images: how many were comparable.
    """

    run_id: str
    metric: str
    challenger: float | None
    champion: float | None
    low: float | None
    high: float | None
    images: int

    def record(self) -> dict[str, Any]:
        """As JSON types, for the manifest and the pointer."""
        return asdict(self)


def compare(
    store: Store, manifest: Manifest, challenger: Challenger, metric: str, cache: Path
) -> Comparison:
    """Judge a release again on today's test images minus those in its own train or val.

    Args:
        store: rooted at the champion's release.
        manifest: the champion's.
        challenger: today's model.
        metric: `accuracy`, `balanced_accuracy` or `macro_f1`.
        cache: folder in which the champion's files are kept.

    Raises:
        ReleaseError: the champion is damaged or cannot be run here.
    """
    learnt = inventories.learnt_from(bring(store, manifest, inventories.NAME, cache).read_bytes())
    rows = [row for row, example in enumerate(challenger.examples) if example.sha256 not in learnt]
    if not rows:
        return Comparison(manifest.run_id, metric, None, None, None, None, 0)
    from job.evaluation import compare_paired
    from job.publish.serving import Served

    labels = np.array([challenger.examples[row].label for row in rows])
    served = Served(bring(store, manifest, "saved_model", cache) / "1")
    theirs = served.classify([challenger.examples[row].path for row in rows])
    result = compare_paired(
        labels,
        challenger.probabilities[rows],
        align(theirs, manifest.classes, challenger.classes),
        metric,
    )
    return Comparison(manifest.run_id, metric, *result)


def align(probabilities: FloatArray, theirs: Sequence[str], ours: Sequence[str]) -> FloatArray:
    """The champion's probabilities over today's classes: float32 [n, len(theirs)] to float32 [n, len(ours)].

    Matched by name; outputs for classes gone are dropped and the rest is renormalised. A class that
    the champion lacks has probability 0; a row in which nothing is left stays without mass, which
    `compare_paired` counts as an error.
    """
    aligned = np.zeros((len(probabilities), len(ours)), np.float32)
    for column, name in enumerate(ours):
        if name in theirs:
            aligned[:, column] = probabilities[:, theirs.index(name)]
    mass = aligned.sum(axis=1, keepdims=True)
    return np.asarray(aligned / np.where(mass > 0, mass, 1), np.float32)

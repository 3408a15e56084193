"""The champion and the challenger on the same images: today's test images, new to the champion."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from job.publish.champion_predictions import ChampionModel, FrozenFeatures
from job.publish.inventory import INVENTORY, list_learnt_images
from job.release import Manifest, download_verified
from job.storage import Store

if TYPE_CHECKING:
    from job.audit import Example

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenger:
    """The new model's probabilities for today's test images.

    Attributes:
        classes: today's class names in the order of the outputs.
        examples: the test images.
        probabilities: float32 [len(examples), len(classes)].
        features: of the test images, by the backbone as it was pre-trained. None if not known.
        machine: names the processor and its threads, on which the last bits depend.
    """

    classes: tuple[str, ...]
    examples: Sequence["Example"]
    probabilities: FloatArray
    features: FrozenFeatures | None = None
    machine: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Both models on the same images.

    Attributes:
        run_id: the champion's.
        metric: name of the score.
        challenger, champion: their scores on the comparable images. None if there are none.
        low, high: paired 95 % interval of challenger minus champion. None if there are no images.
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
    """Evaluate a release on today's test images, without those in its own train or val split.

    Args:
        store: rooted at the champion's release.
        manifest: the champion's.
        challenger: today's model.
        metric: `accuracy`, `balanced_accuracy` or `macro_f1`.
        cache: folder in which the champion's files and its predictions are kept.

    Raises:
        ReleaseError: the champion is damaged or cannot be run here.
    """
    # On images that it was trained on, the champion would look better than it is.
    inventory = download_verified(store, manifest, INVENTORY, cache)
    learnt = list_learnt_images(inventory.read_bytes())
    rows = []
    examples = []
    for row, example in enumerate(challenger.examples):
        if example.sha256 not in learnt:
            rows.append(row)
            examples.append(example)
    if not rows:
        return Comparison(
            run_id=manifest.run_id,
            metric=metric,
            challenger=None,
            champion=None,
            low=None,
            high=None,
            images=0,
        )

    # Imported here, because TensorFlow takes seconds and most uses of this room need none.
    from job.evaluation import compare_paired

    labels = np.array([example.label for example in examples])
    ours = challenger.probabilities[rows]
    # The SavedModel, because it is what users of the champion run.
    folder = download_verified(store, manifest, "saved_model", cache)
    champion = ChampionModel(
        folder=folder / "1",
        manifest=manifest,
        cache=cache / "predictions",
        machine=challenger.machine,
    )
    known = challenger.features.take_for(manifest) if challenger.features else None
    features = None if known is None else known[rows]
    predicted = champion.predict(examples, features)
    theirs = align(predicted, manifest.classes, challenger.classes)
    result = compare_paired(labels, ours, theirs, metric)
    return Comparison(run_id=manifest.run_id, metric=metric, **result._asdict())


def align(probabilities: FloatArray, theirs: Sequence[str], ours: Sequence[str]) -> FloatArray:
    """The champion's probabilities over today's classes, matched by name.

    Outputs for classes that are gone are dropped and the rest is renormalised. A class that the
    champion lacks has probability 0. A row in which nothing is left stays all 0, which
    `compare_paired` counts as an error.

    Args:
        probabilities: float32 [n, len(theirs)].
        theirs: the champion's classes.
        ours: today's classes.

    Returns:
        float32 [n, len(ours)].
    """
    aligned = np.zeros((len(probabilities), len(ours)), np.float32)
    for column, name in enumerate(ours):
        if name in theirs:
            aligned[:, column] = probabilities[:, theirs.index(name)]
    mass = aligned.sum(axis=1, keepdims=True)
    # Where nothing is left, 0 is divided by 1 and stays 0.
    divisor = np.where(mass > 0, mass, 1)
    return np.asarray(aligned / divisor, np.float32)

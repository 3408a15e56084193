"""Wrong labels: images whose own label is unlikely to heads that have not learnt from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logit, softmax

from job.linear import Sample, choose_penalty_by_folds, out_of_fold
from job.scores import Labels

# Of a wrong label, for an image to be listed.
LEAST_PROBABILITY = 0.5
# Starts of the search for the share of wrong labels, whose likelihood may have several peaks.
SHARES = (0.002, 0.02, 0.1)


@dataclass(frozen=True, slots=True)
class Suspect:
    """An image whose label is probably wrong.

    Attributes:
        image: its row in the sample.
        label: its own class.
        likelier: the class that it rather is.
        probability: that the label is wrong.
    """

    image: int
    label: int
    likelier: int
    probability: float


@dataclass(frozen=True, slots=True)
class TestAnswers:
    """What the final model says of the last images of the sample: labels and classes, int [t]."""

    labels: Labels
    predicted: Labels


@dataclass(frozen=True, slots=True)
class Suspects:
    """The images whose labels are probably wrong, the most suspicious first.

    Attributes:
        rows: the images.
        images: how many were looked at.
        share: of wrong labels among them, estimated.
    """

    rows: tuple[Suspect, ...]
    images: int
    share: float

    def facts(
        self,
        names: Sequence[str],
        parts: Sequence[str],
        classes: Sequence[str],
        test: TestAnswers,
    ) -> dict[str, Any]:
        """As JSON types, for the report.

        Args:
            names: of the images of the sample.
            parts: train, val or test for each of them.
            classes: the names of the classes.
            test: the answers of the model on the test images, which are the last of the sample.
        """
        rows = []
        for suspect in self.rows:
            rows.append(
                {
                    "image": names[suspect.image],
                    "label": classes[suspect.label],
                    "likelier": classes[suspect.likelier],
                    "probability": suspect.probability,
                    "part": parts[suspect.image],
                }
            )
        is_right = test.labels == test.predicted
        is_trusted = np.ones(len(is_right), bool)
        first = self.images - len(is_right)
        for suspect in self.rows:
            if suspect.image >= first:
                is_trusted[suspect.image - first] = False
        return {
            "rows": rows,
            "images": self.images,
            "accuracy": _average_or_none(is_right),
            "accuracy_without": _average_or_none(is_right[is_trusted]),
        }


def find_suspects(sample: Sample, penalty: float | None = None) -> Suspects:
    """Find labels that are probably wrong.

    Each image gets the probabilities of a head that has not learnt from it. The rank is the
    self-confidence of confident learning (Northcutt, Jiang and Chuang 2021, arXiv 1911.00068): the
    probability of the image's own label. How many are listed follows from a mixture: a label is
    the head's opinion with probability 1 - e, and any other class with probability e. The share e
    and one temperature are those under which the labels are most likely. An image is listed if its
    label is wrong with a probability above 1/2 in this mixture.

    Args:
        sample: all images: train, val and test.
        penalty: of the heads. None chooses it by folds.
    """
    if penalty is None:
        choice = choose_penalty_by_folds(sample, "accuracy")
        penalty = min(choice.rows, key=lambda row: row.loss).penalty
    logits = out_of_fold(sample, penalty)
    return rank_suspects(logits, sample.labels)


def rank_suspects(logits: NDArray[np.float32], labels: Labels) -> Suspects:
    """Rank images by out-of-fold logits [n, classes] and labels [n]."""
    share, scale = fit_noise(logits, labels)
    rows = np.arange(len(labels))
    others = logits.shape[1] - 1
    chances = softmax(scale * logits.astype(np.float64), axis=1)
    own = chances[rows, labels]
    # The label is any other class than the true one.
    wrong = share * (1 - own) / others
    probability = wrong / (wrong + (1 - share) * own)
    elsewhere = chances.copy()
    elsewhere[rows, labels] = -1
    likelier = elsewhere.argmax(axis=1)
    order = np.argsort(-probability, kind="stable")
    listed = []
    for row in order[probability[order] > LEAST_PROBABILITY]:
        listed.append(
            Suspect(int(row), int(labels[row]), int(likelier[row]), float(probability[row]))
        )
    return Suspects(rows=tuple(listed), images=len(labels), share=share)


def fit_noise(logits: NDArray[np.float32], labels: Labels) -> tuple[float, float]:
    """Fit the share of wrong labels and the scale of the logits by maximum likelihood."""
    rows = np.arange(len(labels))
    others = logits.shape[1] - 1
    exact = logits.astype(np.float64)

    def evaluate(unknowns: NDArray[np.float64]) -> float:
        share, scale = expit(unknowns[0]), np.exp(unknowns[1])
        own = np.exp(log_softmax(scale * exact, axis=1)[rows, labels])
        likelihood = (1 - share) * own + share * (1 - own) / others
        return float(-np.log(np.maximum(likelihood, 1e-300)).mean())

    fits = []
    for start in SHARES:
        found = minimize(
            evaluate,
            np.array([logit(start), 0.0]),
            method="L-BFGS-B",
            bounds=[(logit(1e-6), logit(0.5)), (-3, 3)],
        )
        fits.append((float(found.fun), float(expit(found.x[0])), float(np.exp(found.x[1]))))
    _, share, scale = min(fits)
    return share, scale


def _average_or_none(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if values.size else None

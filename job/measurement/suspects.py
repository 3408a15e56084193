"""Wrong labels: images whose own label is unlikely to heads that have not learnt from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logit, softmax

from job.linear import FeatureGroup, Sample, follow_path, rotate_trial, set_folds
from job.scores import Labels

# Of a wrong label, for an image to be listed. Most of those listed have a far higher one: with 5 %
# planted wrong labels about two of three listed were planted.
LEAST_PROBABILITY = 0.1
# From strong to weak. Wrong labels ask for a stronger one than the score does.
SUSPECT_PENALTIES = (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3)
# What is known of any set beforehand: as if 1 image of 21 had been found wrong. Without it the
# share is estimated as 0 in some sets of 200 images with ten wrong labels.
PRIOR_WRONG, PRIOR_RIGHT = 1.0, 20.0
# Starts of the search for the share of wrong labels, whose likelihood may have several peaks.
SHARES = (0.002, 0.02, 0.1)


@dataclass(frozen=True, slots=True)
class Suspect:
    """An image whose label may be wrong.

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
    """The images whose labels may be wrong, the most suspicious first.

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


class NoiseFit(NamedTuple):
    """How labels come about: `share` of them are wrong, the rest follow the scaled logits.

    `loss` is the mean negative log-likelihood with the prior, in nats.
    """

    loss: float
    share: float
    scale: float


def find_suspects(sample: Sample, penalty: float | None = None) -> Suspects:
    """Find labels that may be wrong.

    Each image gets the probabilities of a head that has not learnt from it. The rank is the
    self-confidence of confident learning (Northcutt, Jiang and Chuang 2021, arXiv 1911.00068): the
    probability of the image's own label. How many are listed follows from a mixture: a label is
    what the head expects with probability 1 - e, and any other class with probability e. The share
    e, a temperature and the penalty of the heads are those under which the labels are most likely.
    An image is listed if its label is wrong with a probability above `LEAST_PROBABILITY` in this
    mixture. So the share of wrong labels need not be known, and of clean data few are listed.

    Args:
        sample: all images: train, val and test.
        penalty: of the heads. None tries `SUSPECT_PENALTIES`.
    """
    whole = FeatureGroup(name="", start=0, stop=sample.features.shape[1])
    trial = set_folds(sample)
    rotated = rotate_trial(trial, [whole], rough=True).truncate()
    penalties = SUSPECT_PENALTIES if penalty is None else (penalty,)
    best: tuple[NoiseFit, NDArray[np.float32]] | None = None
    for _, judged in follow_path(rotated, "accuracy", [1.0], penalties):
        fit = fit_noise(judged, rotated.labels)
        if best is not None and fit.loss > best[0].loss:
            break
        best = fit, judged
    assert best is not None
    fit, judged = best
    logits = np.zeros_like(judged)
    logits[trial.judged] = judged
    return _list_suspects(fit, logits, sample.labels)


def _list_suspects(fit: NoiseFit, logits: NDArray[np.float32], labels: Labels) -> Suspects:
    """Rank images by out-of-fold logits [n, classes] and labels [n]."""
    share = fit.share
    rows = np.arange(len(labels))
    others = logits.shape[1] - 1
    chances = softmax(fit.scale * logits.astype(np.float64), axis=1)
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


def fit_noise(logits: NDArray[np.float32], labels: Labels) -> NoiseFit:
    """Fit the share of wrong labels and the scale of the logits by maximum likelihood.

    Args:
        logits: float32 [n, classes], out of fold.
        labels: int [n].
    """
    rows = np.arange(len(labels))
    others = logits.shape[1] - 1
    exact = logits.astype(np.float64)

    def evaluate(unknowns: NDArray[np.float64]) -> float:
        share, scale = expit(unknowns[0]), np.exp(unknowns[1])
        own = np.exp(log_softmax(scale * exact, axis=1)[rows, labels])
        likelihood = (1 - share) * own + share * (1 - own) / others
        prior = PRIOR_WRONG * np.log(share) + PRIOR_RIGHT * np.log(1 - share)
        return float(-(np.log(np.maximum(likelihood, 1e-300)).sum() + prior) / len(labels))

    fits = []
    for start in SHARES:
        found = minimize(
            evaluate,
            np.array([logit(start), 0.0]),
            method="L-BFGS-B",
            bounds=[(logit(1e-6), logit(0.5)), (-3, 3)],
        )
        share, scale = expit(found.x[0]), np.exp(found.x[1])
        fits.append(NoiseFit(loss=float(found.fun), share=float(share), scale=float(scale)))
    return min(fits)


def _average_or_none(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if values.size else None

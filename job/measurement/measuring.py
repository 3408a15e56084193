"""The square of kind and amount, measured with solved heads before any gradient is taken."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from job.linear import FeatureGroup, Sample, rotate_trial, set_trial
from job.measurement.curve import CurvePoint, measure_curve, predict_gain
from job.measurement.profile import StageScore, measure_profile

# Whether the data are like those of the pre-training.
Kind = Literal["like", "unlike"]

# Points of the score at which both axes of the square have their middle.
MIDDLE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What solved heads say of the kind and the amount of the data.

    Attributes:
        metric: name of the score.
        images: how many the largest head of the curve learnt from.
        judged: how many images judge.
        folds: of the trial; 0 if validation images judge.
        profile: one row per stage, and one for all of them, which comes last.
        curve: from few images to many. Its last score may differ from the profile's by a point,
            because it is solved on fewer components.
        doubling: what twice the images are predicted to add to the score.
        earlier_stages_add: score of all stages minus that of the last one.
    """

    metric: str
    images: int
    judged: int
    folds: int
    profile: tuple[StageScore, ...]
    curve: tuple[CurvePoint, ...]
    doubling: float
    earlier_stages_add: float

    @property
    def likeness(self) -> float:
        """How much the data are like those of the pre-training, 0 to 1."""
        return _place_gain(self.earlier_stages_add)

    @property
    def sufficiency(self) -> float:
        """How close the amount of data is to what more of them could not better, 0 to 1."""
        return _place_gain(self.doubling)

    @property
    def kind(self) -> Kind:
        return "like" if self.likeness >= 0.5 else "unlike"

    @property
    def amount(self) -> Literal["little", "much"]:
        return "much" if self.sufficiency >= 0.5 else "little"

    def facts(self) -> dict[str, Any]:
        """As JSON types, for the report."""
        profile = []
        for stage in self.profile:
            profile.append(
                {
                    "stage": stage.stage,
                    "dimensions": stage.dimensions,
                    "score": stage.score,
                    "low": stage.low,
                    "high": stage.high,
                }
            )
        curve = []
        for point in self.curve:
            curve.append(
                {
                    "images": point.images,
                    "scores": list(point.scores),
                    "score": point.score,
                }
            )
        return {
            "metric": self.metric,
            "images": self.images,
            "judged": self.judged,
            "folds": self.folds,
            "profile": profile,
            "curve": curve,
            "doubling": self.doubling,
            "earlier_stages_add": self.earlier_stages_add,
            "kind": self.kind,
            "amount": self.amount,
        }


def measure(
    train: Sample,
    val: Sample,
    groups: Sequence[FeatureGroup],
    metric: str,
) -> Measurement:
    """Measure the profile and the learning curve.

    Below `LEAST_JUDGED` validation images both are judged out of fold over train and val.

    Args:
        train: the images to learn from.
        val: the images that judge.
        groups: the stages of the network, the last one last.
        metric: a key of `METRICS`.
    """
    trial = set_trial(train, val)
    rotated = rotate_trial(trial, groups, rough=True)
    profile = measure_profile(rotated, groups, metric)
    last, everything = profile[-2:]
    better = choose_better(profile)
    values = [1.0] * len(groups)
    if better is last:
        values = [0.0] * (len(groups) - 1) + [1.0]
    # The profile compares groups, so it needs all components. The curve compares sizes.
    curve = measure_curve(rotated.truncate().refine(), metric, better.penalty, values)
    judged = len(trial.judged)
    return Measurement(
        metric=metric,
        images=curve[-1].images,
        judged=judged,
        folds=trial.folds,
        profile=profile,
        curve=curve,
        doubling=predict_gain(curve, judged),
        earlier_stages_add=everything.score - last.score,
    )


def choose_better(profile: Sequence[StageScore]) -> StageScore:
    """The row of the head whose curve is measured: that of the last stage or that of all stages."""
    last, everything = profile[-2:]
    return last if last.score >= everything.score else everything


def _place_gain(points: float) -> float:
    """Return 1 for no gain, 0.5 for `MIDDLE`, and less for more."""
    return 1 / (1 + max(points, 0.0) / MIDDLE)

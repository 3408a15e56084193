"""The profile: how well each stage of the network tells the classes apart, and all together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from job.linear import FeatureGroup, RotatedTrial, find_best
from job.scores import Labels, compute_wilson_interval, score

ALL_STAGES = "all stages"
# Resamples of the bootstrap. The fixed seed gives equal inputs equal intervals.
RESAMPLES = 500
SEED = 20_170_621


@dataclass(frozen=True, slots=True, kw_only=True)
class StageScore:
    """What a solved head on one stage reaches on the images that judge.

    Attributes:
        stage: the name of its group, or `ALL_STAGES`.
        dimensions: columns of the features.
        score: of the metric.
        low, high: its 95 % interval.
        penalty: the best one.
    """

    stage: str
    dimensions: int
    score: float
    low: float
    high: float
    penalty: float


def measure_profile(
    rotated: RotatedTrial, groups: Sequence[FeatureGroup], metric: str
) -> tuple[StageScore, ...]:
    """Solve one head on each group and one on all of them, which comes last."""
    heads = []
    for number, group in enumerate(groups):
        only = [0.0] * len(groups)
        only[number] = 1.0
        heads.append((group.name, group.dimensions, only))
    heads.append((ALL_STAGES, sum(group.dimensions for group in groups), [1.0] * len(groups)))
    profile = []
    for name, dimensions, values in heads:
        row, logits = find_best(rotated, metric, values)
        low, high = compute_interval(metric, rotated.labels, logits)
        profile.append(
            StageScore(
                stage=name,
                dimensions=dimensions,
                score=row.score,
                low=low,
                high=high,
                penalty=row.penalty,
            )
        )
    return tuple(profile)


def compute_interval(
    metric: str, labels: Labels, logits: NDArray[np.float32]
) -> tuple[float, float]:
    """Compute the 95 % interval of a score: Wilson's for the accuracy, else by bootstrap.

    Args:
        metric: a key of `METRICS`.
        labels: int [n].
        logits: float32 [n, classes].
    """
    images = len(labels)
    if metric == "accuracy":
        hits = int((logits.argmax(axis=1) == labels).sum())
        return compute_wilson_interval(hits, images)
    generator = np.random.default_rng(SEED)
    values = np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        rows = generator.integers(images, size=images)
        values[index] = score(metric, labels[rows], logits[rows])
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)

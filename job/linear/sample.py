"""Images as a linear classifier sees them: rows of features with labels, targets and weights."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from job.scores import Labels


@dataclass(frozen=True, slots=True)
class FeatureGroup:
    """Columns that belong together, such as those of one resolution stage: start to stop - 1."""

    name: str
    start: int
    stop: int

    @property
    def dimensions(self) -> int:
        """How many columns there are."""
        return self.stop - self.start


def spread(groups: Sequence[FeatureGroup], values: Sequence[float]) -> NDArray[np.float64]:
    """Return the factor of each column, float64 [d], from one value per group.

    A column outside all groups gets 0.
    """
    factors = np.zeros(max(group.stop for group in groups))
    for group, value in zip(groups, values, strict=True):
        factors[group.start : group.stop] = value
    return factors


def divide_columns(
    columns: int, factors: NDArray[np.float64] | None
) -> tuple[tuple[FeatureGroup, ...], tuple[float, ...]]:
    """Return the groups of neighbouring columns that share a factor, and the factor of each.

    Args:
        columns: how many there are.
        factors: float [columns]. None is 1 for all.
    """
    if factors is None:
        factors = np.ones(columns)
    bounds = [0, *(np.flatnonzero(np.diff(factors)) + 1), columns]
    groups = []
    values = []
    for start, stop in pairwise(bounds):
        groups.append(FeatureGroup("", int(start), int(stop)))
        values.append(float(factors[start]))
    return tuple(groups), tuple(values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Images to learn from or to judge by.

    Attributes:
        features: float32 [n, d].
        labels: int [n].
        targets: float32 [n, classes], rows that sum to 1. What is learnt.
        weights: float32 [n]. How much each image counts when it is learnt from.
    """

    features: NDArray[np.float32]
    labels: Labels
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]

    @property
    def images(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        return self.targets.shape[1]

    def take(self, rows: NDArray[np.int64]) -> "Sample":
        """Return some of the images, by position."""
        return Sample(
            features=self.features[rows],
            labels=self.labels[rows],
            targets=self.targets[rows],
            weights=self.weights[rows],
        )


def join(*samples: Sample) -> Sample:
    """Return the images of all samples in their order."""
    joined = {}
    for field in fields(Sample):
        parts = [getattr(sample, field.name) for sample in samples]
        joined[field.name] = np.concatenate(parts)
    return Sample(**joined)

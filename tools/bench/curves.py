"""Accuracy over the seconds since `exec`, as curves of steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# The name in `--rows`, and the key in the file.
ANYTIME = "anytime"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """What the newest model of one competitor is worth at each moment.

    Attributes:
        name: of the competitor.
        description: what it is, and what a reader must know beside its figures.
        ours: whether it is a run of Graft.
        points: (seconds since `exec`, accuracy on the test pictures) of each model, in their order.
    """

    name: str
    description: str
    ours: bool
    points: tuple[tuple[float, float], ...]

    @property
    def first_seconds(self) -> float:
        return self.points[0][0]

    @property
    def last_seconds(self) -> float:
        return self.points[-1][0]

    @property
    def last_accuracy(self) -> float:
        return self.points[-1][1]


def make_curve(values: Mapping[str, Any]) -> Curve:
    """A curve from its entry in the file."""
    points = tuple((seconds, accuracy) for seconds, accuracy in values["points"])
    return Curve(**{**values, "points": points})


def find_end(curves: Sequence[Curve]) -> float:
    """The seconds at which the last curve ends."""
    return max(curve.last_seconds for curve in curves)


def find_seconds(curve: Curve, accuracy: float) -> float | None:
    """When a curve first reaches an accuracy. None if it never does."""
    for seconds, reached in curve.points:
        if reached >= accuracy:
            return seconds
    return None


def average_accuracy(curve: Curve, end: float) -> float:
    """The mean accuracy from `exec` to the end: 0 before the first model, then the newest one's."""
    area = 0.0
    ends = [seconds for seconds, _ in curve.points[1:]] + [end]
    for (seconds, accuracy), following in zip(curve.points, ends, strict=True):
        area += accuracy * (following - seconds)
    return area / end


def trace_steps(curve: Curve, end: float) -> list[tuple[float, float]]:
    """The corners of a curve from its first model to the end."""
    corners = [(curve.first_seconds, 0.0)]
    for seconds, accuracy in curve.points:
        corners += [(seconds, corners[-1][1]), (seconds, accuracy)]
    return [*corners[1:], (end, curve.last_accuracy)]

"""Compute charts of intervals: one row per thing measured, a dot and a line on a common axis."""

from collections.abc import Sequence
from dataclasses import dataclass

from job.evaluation.charts import Axis, Tick

# Edges of the plotted area within a view box that is 360 wide. Names are to its left, and values to
# its right.
LEFT, RIGHT = 108, 308
# Heights of the first row's middle, of a row, and of what is below the last row.
FIRST, ROW, FOOT = 14, 22, 34
# Longer names would run into the plotted area.
LONGEST_NAME = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A measured value with the bounds of its interval. `text` is the value for people."""

    name: str
    value: float
    low: float
    high: float
    text: str
    is_chosen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalRow:
    """An interval in the picture's coordinates."""

    name: str
    full_name: str
    text: str
    y: float
    x: float
    left: float
    right: float
    style: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalChart:
    """Intervals one below the other. `guide` is the place of a vertical line, such as that of 0."""

    title: str
    axis: Axis
    intervals: tuple[Interval, ...]
    guide: float | None = None

    @property
    def height(self) -> int:
        return self.bottom + FOOT

    @property
    def bottom(self) -> int:
        """The height of the axis."""
        return FIRST + ROW * len(self.intervals) - ROW // 2

    @property
    def ticks(self) -> list[Tick]:
        return [Tick(self.locate(value), text) for value, text in self.axis.list_ticks()]

    @property
    def rows(self) -> list[IntervalRow]:
        rows = []
        for index, interval in enumerate(self.intervals):
            name = interval.name
            if len(name) > LONGEST_NAME:
                name = f"{name[: LONGEST_NAME - 1]}…"
            rows.append(
                IntervalRow(
                    name=name,
                    full_name=interval.name,
                    text=interval.text,
                    y=FIRST + ROW * index,
                    x=self.locate(interval.value),
                    left=self.locate(interval.low),
                    right=self.locate(interval.high),
                    style="main" if interval.is_chosen else "second",
                )
            )
        return rows

    def locate(self, value: float) -> float:
        """Map a value to the picture's coordinates. One outside the axis is at its end."""
        share = min(max(self.axis.locate(value), 0.0), 1.0)
        return round(LEFT + share * (RIGHT - LEFT), 1)


def list_bounds(intervals: Sequence[Interval]) -> list[float]:
    """List everything that an axis has to cover."""
    bounds = []
    for interval in intervals:
        bounds += [interval.low, interval.value, interval.high]
    return bounds

"""Compute charts as plain geometry.

`chart.html` renders them as SVG, so that the page needs no script.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Edges of the plotted area within the view box of `chart.html`, 360 by 240.
LEFT, RIGHT, TOP, BOTTOM = 44, 348, 14, 202

MINUS = "\N{MINUS SIGN}"
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Tick:
    """A label at a position along an axis, in the picture's coordinates."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Label:
    """A text beside a dot, in the picture's coordinates. `anchor` is start, middle or end."""

    x: float
    y: float
    anchor: str
    text: str


@dataclass(frozen=True, slots=True)
class Dot:
    x: float
    y: float
    radius: float
    title: str
    label: Label | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Points joined by a line, dots, or both. `style` is a class of the page's style sheet.

    One without a `label` is not in the legend.
    """

    label: str
    style: str
    line: str = ""
    dots: tuple[Dot, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A range of values with ticks at `low` and at the multiples of `step`.

    Attributes:
        label: below the axis.
        low, high: its ends. Above 0 where it is logarithmic.
        step: between two ticks.
        unit: `%` shows a share as a percentage.
        places: the ticks, where they are not multiples of a step.
        is_logarithmic: equal distances are equal factors.
    """

    label: str
    low: float
    high: float
    step: float = 1.0
    unit: str = ""
    places: tuple[float, ...] = ()
    is_logarithmic: bool = False

    def locate(self, value: float) -> float:
        """How far along the axis a value is, from 0 to 1."""
        if self.is_logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def list_ticks(self) -> list[tuple[float, str]]:
        """The value and the text of each tick, in ascending order."""
        if self.places:
            return [(value, f"{value:,.10g}") for value in self.places]
        # The small amount keeps a multiple that rounding has moved just outside the range.
        first = math.ceil(self.low / self.step - 1e-9)
        last = math.floor(self.high / self.step + 1e-9)
        values = []
        if first * self.step > self.low + 1e-9 * self.step:
            values.append(self.low)
        for index in range(first, last + 1):
            values.append(index * self.step)

        ticks = []
        for value in values:
            text = f"{value:.10g}"
            if self.unit == "%":
                text = f"{100 * value:.0f}"
            ticks.append((value, text.replace("-", MINUS)))
        return ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Series between two axes. `marks` are labelled vertical lines."""

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...] = ()
    marks: tuple[Tick, ...] = ()

    @property
    def x_ticks(self) -> list[Tick]:
        ticks = []
        for value, text in self.x.list_ticks():
            x, _ = self.locate(value, self.y.low)
            ticks.append(Tick(x, text))
        return ticks

    @property
    def y_ticks(self) -> list[Tick]:
        ticks = []
        for value, text in self.y.list_ticks():
            _, y = self.locate(self.x.low, value)
            ticks.append(Tick(y, text))
        return ticks

    def locate(self, x: float, y: float) -> tuple[float, float]:
        """Map values to the picture's coordinates."""
        width = RIGHT - LEFT
        height = BOTTOM - TOP
        left = LEFT + self.x.locate(x) * width
        # SVG counts downwards.
        top = BOTTOM - self.y.locate(y) * height
        # Less than a tenth cannot be seen, and more digits would make the page larger.
        return round(left, 1), round(top, 1)

    def format_line(self, points: Points) -> str:
        """Format points as the `points` of an SVG polyline."""
        places = []
        for x, y in points:
            left, top = self.locate(x, y)
            places.append(f"{left},{top}")
        return " ".join(places)


def make_percent_axis(label: str) -> Axis:
    """Make an axis from 0 to 100 %."""
    return Axis(
        label=label,
        low=0.0,
        high=1.0,
        step=0.25,
        unit="%",
    )


def make_score_axis(label: str, scores: Sequence[float]) -> Axis:
    """Make an axis of percentages around some scores, between whole tens."""
    # The small amount keeps a whole ten that rounding has moved just outside the range.
    low = max(0, math.floor(10 * min(scores, default=0) + 1e-9))
    high = min(10, math.ceil(10 * max(scores, default=1) - 1e-9))
    if high - low < 2:
        # Differences within less than 20 points would look large.
        low = max(0, low - 1)
        high = min(10, low + 2)
    span = high - low
    step = 0.05 if span <= 2 else 0.1 if span <= 5 else 0.2
    return Axis(
        label=label,
        low=low / 10,
        high=high / 10,
        step=step,
        unit="%",
    )


def make_amount_axis(label: str, most: float) -> Axis:
    """Make an axis from 0 to the next round number."""
    step = _find_round_step(most)
    # The small amount keeps a whole number of steps that rounding has made a little larger.
    steps = math.ceil(most / step - 1e-9)
    return Axis(
        label=label,
        low=0.0,
        high=step * max(steps, 1),
        step=step,
    )


def make_step_axis(label: str, count: int) -> Axis:
    """Make an axis from the first to the last of `count` steps, 2 or more."""
    step = _find_round_step(count - 1)
    return Axis(
        label=label,
        low=1,
        high=count,
        # There is no half step.
        step=max(step, 1),
    )


def _find_round_step(most: float) -> float:
    """Find 1, 2 or 5 times a power of ten, of which about five make `most`."""
    rough = max(most, 1e-9) / 5
    exponent = math.floor(math.log10(rough))
    power = 10.0**exponent
    for factor in (1, 2, 5):
        step = power * factor
        # Rounding must not push an exact multiple up to the next step.
        if step >= rough * 0.999:
            return step
    return power * 10

"""Charts as plain geometry; `chart.html` draws them as SVG, so that the page needs no script."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 360, 240
LEFT, RIGHT, TOP, BOTTOM = 44, 348, 14, 202

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Dot:
    x: float
    y: float
    radius: float
    title: str


@dataclass(frozen=True, slots=True)
class Series:
    """Points joined by a line, dots, or both. `style` is a class of the page's style sheet."""

    label: str
    style: str
    line: str = ""
    dots: tuple[Dot, ...] = ()


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of values; ticks stand at `low` and at the multiples of `step`."""

    label: str
    low: float
    high: float
    step: float
    unit: str = ""

    def ticks(self) -> list[tuple[float, str]]:
        first, last = (
            math.ceil(self.low / self.step - 1e-9),
            math.floor(self.high / self.step + 1e-9),
        )
        values = sorted({self.low, *(index * self.step for index in range(first, last + 1))})
        return [
            (value, f"{100 * value:.0f}" if self.unit == "%" else f"{value:.10g}")
            for value in values
        ]


@dataclass(frozen=True, slots=True)
class Chart:
    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...] = ()
    marks: tuple[Tick, ...] = ()

    @property
    def x_ticks(self) -> list[Tick]:
        return [Tick(self.place(value, self.y.low)[0], text) for value, text in self.x.ticks()]

    @property
    def y_ticks(self) -> list[Tick]:
        return [Tick(self.place(self.x.low, value)[1], text) for value, text in self.y.ticks()]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """From values to the picture's coordinates, rounded so that the page stays small."""
        right = (x - self.x.low) / (self.x.high - self.x.low)
        up = (y - self.y.low) / (self.y.high - self.y.low)
        return round(LEFT + right * (RIGHT - LEFT), 1), round(BOTTOM - up * (BOTTOM - TOP), 1)

    def line(self, points: Points) -> str:
        return " ".join("{},{}".format(*self.place(x, y)) for x, y in points)

    def dots(
        self, points: Points, titles: Sequence[str], radii: Sequence[float]
    ) -> tuple[Dot, ...]:
        places = (self.place(x, y) for x, y in points)
        return tuple(
            Dot(*at, round(r, 1), title) for at, r, title in zip(places, radii, titles, strict=True)
        )


def share(label: str) -> Axis:
    """An axis from 0 to 100 %."""
    return Axis(label, 0.0, 1.0, 0.25, "%")


def amount(label: str, most: float) -> Axis:
    """An axis from 0 to the next round number."""
    step = _round_step(most)
    return Axis(label, 0.0, step * max(math.ceil(most / step - 1e-9), 1), step)


def steps(label: str, count: int) -> Axis:
    """An axis from the first to the last of `count` steps, 2 or more."""
    return Axis(label, 1, count, max(_round_step(count - 1), 1))


def _round_step(most: float) -> float:
    """1, 2 or 5 times a power of ten, so that about five of them make `most`."""
    rough = max(most, 1e-9) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)

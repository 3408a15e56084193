"""Compute the square of the lecture: how much like ImageNet, how much data, and what is advised."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from job.evaluation.charts import Dot, Tick

# Edges of the square within the view box of `measured.html`, 360 by 318.
LEFT, RIGHT, TOP, BOTTOM = 44, 348, 8, 268
# At this difference of two scores an axis is at its middle.
MIDDLE = 0.02
# Differences that are marked along the axes, in points.
MARKED_POINTS = (10, 5, 2, 1, 0)
RADIUS = 7
# The lecture's advice by kind and amount of the data, in lines that fit into a quadrant.
LINES = {
    ("unlike", "much"): ("retrain all", "from ImageNet's weights"),
    ("like", "much"): ("retrain a part", "the last stages"),
    ("unlike", "little"): ("retrain a part", "from an early layer on"),
    ("like", "little"): ("retrain none", "only a new head"),
}
# Heights of the first line of a quadrant's text: at its top, and at its bottom.
UPPER_TEXT, LOWER_TEXT = 20, 92


@dataclass(frozen=True, slots=True, kw_only=True)
class Quadrant:
    """One kind and amount of data, from (`x`, `y`) on. `lines` are its name and the advice."""

    x: float
    y: float
    width: float
    height: float
    text_y: float
    lines: tuple[str, ...]
    is_here: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    """The square in the picture's coordinates."""

    title: str
    quadrants: tuple[Quadrant, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    dot: Dot


def draw_square(measurement: Mapping[str, Any]) -> Square:
    """Put the data into the square.

    To the right they are more like ImageNet: the earlier stages of the network add less to what the
    last one knows. Upwards there are more: twice the images would bring less.

    Args:
        measurement: with earlier_stages_add and doubling, both differences of scores.
    """
    likeness = _find_share(measurement["earlier_stages_add"])
    amount = _find_share(measurement["doubling"])
    x = LEFT + likeness * (RIGHT - LEFT)
    y = BOTTOM - amount * (BOTTOM - TOP)
    name = f"{measurement['kind'].capitalize()} ImageNet, {measurement['amount']} data"
    x_ticks = []
    y_ticks = []
    for points in MARKED_POINTS:
        share = _find_share(points / 100)
        x_ticks.append(Tick(round(LEFT + share * (RIGHT - LEFT), 1), str(points)))
        y_ticks.append(Tick(round(BOTTOM - share * (BOTTOM - TOP), 1), str(points)))
    quadrants = []
    for kind, amount_name in LINES:
        is_here = (kind, amount_name) == (measurement["kind"], measurement["amount"])
        quadrants.append(_place_quadrant(kind, amount_name, y if is_here else None))
    return Square(
        title=name,
        quadrants=tuple(quadrants),
        x_ticks=tuple(x_ticks),
        y_ticks=tuple(y_ticks),
        dot=Dot(round(x, 1), round(y, 1), RADIUS, name),
    )


def _find_share(difference: float) -> float:
    """Map a difference of two scores to 0..1: 1 where there is none, a half at `MIDDLE`."""
    return 1 / (1 + max(difference, 0.0) / MIDDLE)


def _place_quadrant(kind: str, amount: str, dot_y: float | None) -> Quadrant:
    """Place a quadrant, with its text away from the dot if the dot is in it."""
    width = (RIGHT - LEFT) / 2
    height = (BOTTOM - TOP) / 2
    x = LEFT + width if kind == "like" else LEFT
    y = TOP if amount == "much" else TOP + height
    is_below = dot_y is not None and dot_y < y + height / 2
    return Quadrant(
        x=x,
        y=y,
        width=width,
        height=height,
        text_y=y + (LOWER_TEXT if is_below else UPPER_TEXT),
        lines=(f"{kind}, {amount}", *LINES[kind, amount]),
        is_here=dot_y is not None,
    )

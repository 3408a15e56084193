"""Make the chart of the backbones that were compared: the score of each against its size."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from job.evaluation.charts import LEFT, RIGHT, Axis, Chart, Dot, Label, Series, make_score_axis
from job.evaluation.plots import Rows
from job.evaluation.wording import format_millions, format_tenths, name_metric

# Room to the left of the smallest backbone and to the right of the largest, as a factor.
MARGIN = 1.3
# Ticks of a logarithmic axis within each power of ten.
MANTISSAS = (1, 2, 3, 4, 5, 7)
# More ticks than this would touch.
MOST_TICKS = 7
RADIUS = 5
# Where a name is written: above its dot, or below the next one, so that neighbours do not touch.
ABOVE, BELOW = -10, 17
# A name this close to an edge, in the picture's coordinates, is written inwards.
EDGE = 60


def plot_backbones(backbones: Rows) -> Chart | None:
    """Plot the score of each backbone against its parameters; no chart for fewer than two scores.

    A line joins those than which no smaller one is better.
    """
    rows = [row for row in backbones if row["score"] is not None]
    rows.sort(key=lambda row: row["parameters"])
    if len(rows) < 2:
        return None
    bounds = []
    for row in rows:
        bounds += [row["low"], row["score"], row["high"]]
    low, high = _find_size(rows[0]) / MARGIN, _find_size(rows[-1]) * MARGIN
    chart = Chart(
        title=f"{name_metric(rows[0]['metric']).capitalize()} and size, %",
        x=Axis(
            label="million parameters",
            low=low,
            high=high,
            places=_list_ticks(low, high),
            is_logarithmic=True,
        ),
        y=make_score_axis("", bounds),
    )
    series = []
    front: list[tuple[float, float]] = []
    dots: dict[bool, list[Dot]] = {True: [], False: []}
    for index, row in enumerate(rows):
        size = _find_size(row)
        if not front or row["score"] > front[-1][1]:
            front.append((size, row["score"]))
        whisker = chart.format_line([(size, row["low"]), (size, row["high"])])
        series.append(Series("" if index else "95 % interval", "whisker", whisker))
        dots[row["chosen"]].append(_place_dot(chart, row, BELOW if index % 2 else ABOVE))
    series += [
        Series("best for its size", "second dashed", chart.format_line(front)),
        Series("other candidates", "second", dots=tuple(dots[False])),
        Series("chosen", "main", dots=tuple(dots[True])),
    ]
    return replace(chart, series=tuple(series))


def _place_dot(chart: Chart, row: Mapping[str, Any], shift: int) -> Dot:
    x, y = chart.locate(_find_size(row), row["score"])
    anchor = "start" if x < LEFT + EDGE else "end" if x > RIGHT - EDGE else "middle"
    label = Label(x, round(y + shift, 1), anchor, row["name"])
    title = f"{row['name']}: {format_tenths(row['score'])}, {format_millions(row['parameters'])}"
    return Dot(x, y, RADIUS, title, label)


def _find_size(row: Mapping[str, Any]) -> float:
    """Millions of parameters."""
    return float(row["parameters"]) / 1e6


def _list_ticks(low: float, high: float) -> tuple[float, ...]:
    """Round numbers between the ends of a logarithmic axis, a few of them."""
    ticks = []
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        for mantissa in MANTISSAS:
            value = mantissa * 10.0**power
            if low <= value <= high:
                ticks.append(value)
    return tuple(ticks[:: -(-len(ticks) // MOST_TICKS)])

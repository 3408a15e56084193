"""Make the charts of what was measured before and beside the training.

These are the profile of the network's stages, the learning curve, the candidates, and the
difference to the champion.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from job.evaluation.charts import Axis, Chart, Dot, Series, make_amount_axis, make_score_axis
from job.evaluation.intervals import Interval, IntervalChart, list_bounds
from job.evaluation.plots import Rows
from job.evaluation.wording import SPACE, format_gain, format_percent, format_tenths, name_metric
from job.plurals import format_count

# Of the width of an axis: two ticks nearer than this would touch.
LEAST_DISTANCE = 0.12
GAP = 5 * SPACE
DRAW_RADIUS, MEAN_RADIUS = 2.4, 4


def plot_profile(measurement: Mapping[str, Any]) -> IntervalChart | None:
    """Plot what each stage of the network, and all together, knows of the classes."""
    intervals = []
    for row in measurement["profile"]:
        intervals.append(
            Interval(
                name=row["stage"],
                value=row["score"],
                low=row["low"],
                high=row["high"],
                text=format_percent(row["score"]),
                is_chosen=row["stage"] == "all stages",
            )
        )
    if not intervals:
        return None
    metric = name_metric(measurement["metric"])
    return IntervalChart(
        title="What each stage of the network knows",
        axis=make_score_axis(f"{metric} of a linear head, %", list_bounds(intervals)),
        intervals=tuple(intervals),
    )


def plot_learning_curve(measurement: Mapping[str, Any]) -> Chart | None:
    """Plot the score against the training images, with each draw, and what twice the images bring.

    There is no chart for fewer than two points.
    """
    curve = measurement["curve"]
    if len(curve) < 2:
        return None
    first, last = curve[0]["images"], curve[-1]["images"]
    predicted = min(1.0, curve[-1]["score"] + max(measurement["doubling"], 0.0))
    scores = [predicted]
    for row in curve:
        scores += [row["score"], *row["scores"]]
    x = Axis(
        label="training images",
        low=first,
        high=2 * last,
        is_logarithmic=True,
    )
    ticks: list[float] = []
    # From the end, because the last of the measured ones matters most.
    for images in (2 * last, *(row["images"] for row in reversed(curve))):
        if not ticks or x.locate(ticks[-1]) - x.locate(images) >= LEAST_DISTANCE:
            ticks.append(images)
    metric = name_metric(measurement["metric"])
    chart = Chart(
        title=f"{metric.capitalize()} with more images, %",
        x=replace(x, places=tuple(reversed(ticks))),
        y=make_score_axis("", scores),
    )

    draws = []
    means = []
    points = []
    for row in curve:
        points.append((row["images"], row["score"]))
        means.append(_place_dot(chart, row["images"], row["score"], MEAN_RADIUS))
        for score in row["scores"]:
            draws.append(_place_dot(chart, row["images"], score, DRAW_RADIUS))
    outlook = chart.format_line([points[-1], (2 * last, predicted)])
    end = _place_dot(chart, 2 * last, predicted, MEAN_RADIUS)
    series = (
        Series("one draw", "second", dots=tuple(draws)),
        Series("mean", "main", chart.format_line(points), tuple(means)),
        Series("predicted", "main dashed outlook", outlook, (end,)),
    )
    return replace(chart, series=series)


def plot_candidates(candidates: Rows) -> IntervalChart | None:
    """Plot the score of each candidate with its interval, the chosen one in the accent colour."""
    intervals = []
    for row in candidates:
        # One that was dropped before it was judged has no score.
        if row["score"] is None:
            continue
        intervals.append(
            Interval(
                name=row["name"],
                value=row["score"],
                low=row["score"] if row["low"] is None else row["low"],
                high=row["score"] if row["high"] is None else row["high"],
                text=format_tenths(row["score"]),
                is_chosen=row["chosen"],
            )
        )
    if not intervals:
        return None
    return IntervalChart(
        title="Score of each candidate",
        axis=make_score_axis("score on the validation images, %", list_bounds(intervals)),
        intervals=tuple(intervals),
    )


def plot_difference(promotion: Mapping[str, Any]) -> IntervalChart | None:
    """Plot the paired interval of the difference to the champion, around 0."""
    comparison = promotion.get("comparison")
    if not comparison or comparison["low"] is None:
        return None
    low, high = 100 * comparison["low"], 100 * comparison["high"]
    difference = comparison["challenger"] - comparison["champion"]
    interval = Interval(
        name="this model",
        value=100 * difference,
        low=low,
        high=high,
        text=format_gain(difference),
        is_chosen=True,
    )
    most = make_amount_axis("", max(abs(low), abs(high), 1.0))
    return IntervalChart(
        title="Difference to the champion",
        axis=Axis(
            # Between words, SVG draws ordinary spaces as one.
            label=f"← worse{GAP}points{GAP}better →",
            low=-most.high,
            high=most.high,
            step=most.high,
        ),
        intervals=(interval,),
        guide=0.0,
    )


def _place_dot(chart: Chart, images: int, score: float, radius: float) -> Dot:
    x, y = chart.locate(images, score)
    return Dot(x, y, radius, f"{format_count(images, 'image')}: {format_percent(score)}")

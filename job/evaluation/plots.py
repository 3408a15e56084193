"""Make the charts of the page from the rows of report.json."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from job.evaluation.charts import (
    Chart,
    Dot,
    Points,
    Series,
    Tick,
    make_amount_axis,
    make_percent_axis,
    make_step_axis,
)

Rows = Sequence[Mapping[str, Any]]

# Radius of a dot: the least, and what is added for the bin with most images.
LEAST_RADIUS, EXTRA_RADIUS = 3, 8


def plot_history(history: Rows, metric: str) -> tuple[Chart, ...]:
    """Plot loss and score by epoch over all stages; no chart for fewer than two rows.

    Losses are the columns that end in `loss`. Scores are the columns that end in the gate's metric
    or in `accuracy`.
    """
    if len(history) < 2:
        return ()
    losses = _collect_columns(history, ("loss",))
    scores = _collect_columns(history, (metric, "accuracy"))
    largest_loss = 0.0
    for points in losses.values():
        for _, loss in points:
            largest_loss = max(largest_loss, loss)

    # A solved head has no epochs: its rows are steps along the path of penalties.
    is_solved = any("penalty" in row for row in history)
    axis = make_step_axis("step" if is_solved else "epoch", len(history))
    loss_chart = Chart(
        title="Loss",
        x=axis,
        y=make_amount_axis("", largest_loss),
    )
    score_chart = Chart(
        title="Score, %",
        x=axis,
        y=make_percent_axis(""),
    )

    charts = []
    for chart, columns in ((loss_chart, losses), (score_chart, scores)):
        if columns:
            series = _plot_columns(chart, columns)
            marks = _mark_stages(chart, history)
            charts.append(replace(chart, series=series, marks=marks))
    return tuple(charts)


def plot_reliability(calibration: Mapping[str, Any]) -> Chart:
    """Plot accuracy against confidence, one dot per bin; a calibrated model is on the diagonal."""
    chart = Chart(
        title="Accuracy at each confidence, %",
        x=make_percent_axis("confidence, %"),
        y=make_percent_axis(""),
    )
    diagonal = chart.format_line([(0, 0), (1, 1)])
    before = _plot_bins(chart, calibration["before"]["bins"])
    after = _plot_bins(chart, calibration["after"]["bins"])
    series = (
        Series("calibrated", "guide", diagonal),
        Series("as trained", "second", dots=before),
        Series("as released", "main", dots=after),
    )
    return replace(chart, series=series)


def plot_abstention(coverage: Rows) -> Chart:
    """Plot what happens when the model answers only above a confidence."""
    chart = Chart(
        title="Answering only above a confidence, %",
        x=make_percent_axis("least confidence, %"),
        y=make_percent_axis(""),
    )
    answered = []
    right = []
    for row in coverage:
        threshold = row["threshold"]
        answered.append((threshold, row["coverage"]))
        # Above the largest confidence there is no answer, so no accuracy.
        if row["accuracy"] is not None:
            right.append((threshold, row["accuracy"]))
    series = (
        Series("images answered", "second", chart.format_line(answered)),
        Series("answers right", "main", chart.format_line(right)),
    )
    return replace(chart, series=series)


def _collect_columns(history: Rows, endings: tuple[str, ...]) -> dict[str, Points]:
    """Collect the points of each column with such an ending, by epoch counted over all stages."""
    columns: dict[str, list[tuple[float, float]]] = {}
    for epoch, row in enumerate(history, 1):
        for name, value in row.items():
            if name.endswith(endings) and value is not None:
                points = columns.setdefault(name, [])
                points.append((epoch, value))
    # In the order of the names, whatever column the first row has.
    return dict(sorted(columns.items()))


def _plot_columns(chart: Chart, columns: Mapping[str, Points]) -> tuple[Series, ...]:
    """Draw validation in the accent colour, training in grey, and further lines dashed."""
    validation_styles: Iterator[str] = iter(("main", "main dashed", "main dotted"))
    training_styles: Iterator[str] = iter(("second", "second dashed"))
    series = []
    for name, points in columns.items():
        if name.startswith("val_"):
            style = next(validation_styles, "second dotted")
            label = name.replace("val_", "validation ")
        else:
            style = next(training_styles, "second dotted")
            label = f"training {name}"
        label = label.replace("_", " ")
        line = chart.format_line(points)
        series.append(Series(label, style, line))
    return tuple(series)


def _mark_stages(chart: Chart, history: Rows) -> tuple[Tick, ...]:
    """Mark where each stage starts."""
    marks = []
    previous = None
    for epoch, row in enumerate(history, 1):
        stage = str(row["stage"])
        if stage != previous:
            x, _ = chart.locate(epoch, chart.y.low)
            marks.append(Tick(x, stage))
        previous = stage
    return tuple(marks)


def _plot_bins(chart: Chart, bins: Rows) -> tuple[Dot, ...]:
    most = max((row["images"] for row in bins), default=1)
    dots = []
    for row in bins:
        images = row["images"]
        confidence = row["confidence"]
        accuracy = row["accuracy"]
        x, y = chart.locate(confidence, accuracy)
        # The area of a dot, not its radius, grows with the images.
        radius = LEAST_RADIUS + EXTRA_RADIUS * math.sqrt(images / most)
        title = f"{images} images: {confidence:.0%} sure, {accuracy:.0%} right"
        dots.append(Dot(x, y, round(radius, 1), title))
    return tuple(dots)

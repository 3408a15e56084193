"""Make the charts of the page from the rows of report.json."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from job.evaluation.charts import (
    Axis,
    Chart,
    Dot,
    Points,
    Series,
    Tick,
    make_amount_axis,
    make_percent_axis,
    make_score_axis,
    make_step_axis,
)
from job.plurals import format_count

Rows = Sequence[Mapping[str, Any]]

# Radius of a dot: the least, and what is added for the bin with most images.
LEAST_RADIUS, EXTRA_RADIUS = 3, 8
# Radius of the dot that marks what was kept.
KEPT_RADIUS = 5


def plot_history(history: Rows, metric: str) -> tuple[Chart, ...]:
    """Plot loss and score by epoch over all trained stages; no chart for fewer than two epochs.

    Losses are the columns that end in `loss`. Scores are the columns that end in the gate's metric
    or in `accuracy`. A dot marks the best epoch of each stage, whose weights were kept.
    """
    trained = [row for row in history if row.get("penalty") is None]
    if len(trained) < 2:
        return ()
    axis = make_step_axis("epoch", len(trained))
    places = [float(epoch) for epoch in range(1, len(trained) + 1)]
    kept = []
    for stage in _divide_stages(trained):
        best = find_best_row(trained[stage.start : stage.stop], metric)
        if best is not None:
            kept.append(places[stage.start + best])

    charts = []
    for chart, columns in _draw_columns(trained, places, axis, metric):
        label = "best epoch, whose weights were kept"
        marks = _mark_stages(chart, trained)
        charts.append(_mark_kept(replace(chart, marks=marks), columns, kept, label))
    return tuple(charts)


def plot_penalties(history: Rows, metric: str) -> tuple[Chart, ...]:
    """Plot loss and score of the last solved head over its penalties, with the kept one marked.

    There is no chart for fewer than two penalties.
    """
    solved = [row for row in history if row.get("penalty") is not None]
    stages = _divide_stages(solved)
    if not stages or len(stages[-1]) < 2:
        return ()
    rows = solved[stages[-1].start : stages[-1].stop]
    places = [row["penalty"] for row in rows]
    low, high = min(places), max(places)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    axis = Axis(
        label="penalty",
        low=low,
        high=high,
        # A penalty of 10 ** -3.5 is between two ticks.
        places=tuple(10.0**power for power in decades if low <= 10.0**power <= high),
        is_logarithmic=True,
    )
    best = find_best_row(rows, metric)
    kept = [] if best is None else [places[best]]
    charts = []
    for chart, columns in _draw_columns(rows, places, axis, metric):
        label = "" if best is None else f"kept: penalty {places[best]:.2g}"
        charts.append(_mark_kept(chart, columns, kept, label))
    return tuple(charts)


def find_best_row(rows: Rows, metric: str) -> int | None:
    """Find the row of a stage whose weights were kept: None if no row has its score.

    A row with `kept` says so itself. Otherwise it is the first one with the highest validation
    score, and among equal scores with the lowest validation loss, as in the training.
    """
    best = None
    best_rank = (-math.inf, -math.inf)
    for index, row in enumerate(rows):
        if row.get("kept"):
            return index
        score = row.get(f"val_{metric}")
        if score is None:
            continue
        loss = row.get("val_loss")
        rank = (score, -math.inf if loss is None else -loss)
        if best is None or rank > best_rank:
            best = index
            best_rank = rank
    return best


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


def _divide_stages(rows: Rows) -> list[range]:
    """Divide rows into runs of one stage."""
    stages: list[range] = []
    for index, row in enumerate(rows):
        if stages and rows[stages[-1].start]["stage"] == row["stage"]:
            stages[-1] = range(stages[-1].start, index + 1)
        else:
            stages.append(range(index, index + 1))
    return stages


def _draw_columns(
    rows: Rows,
    places: Sequence[float],
    axis: Axis,
    metric: str,
) -> Iterator[tuple[Chart, dict[str, Points]]]:
    """Yield a chart of the losses and one of the scores, each with the columns that it shows."""
    losses = _collect_columns(rows, places, ("loss",))
    scores = _collect_columns(rows, places, (metric, "accuracy"))
    loss_axis = make_amount_axis("", max(_list_values(losses), default=0.0))
    score_axis = make_score_axis("", _list_values(scores))
    named = (("Loss", loss_axis, losses), ("Score, %", score_axis, scores))
    for title, y, columns in named:
        if columns:
            chart = Chart(title=title, x=axis, y=y)
            yield replace(chart, series=_plot_columns(chart, columns)), columns


def _collect_columns(
    rows: Rows, places: Sequence[float], endings: tuple[str, ...]
) -> dict[str, Points]:
    """Collect the points of each column with such an ending, at the place of each row."""
    columns: dict[str, list[tuple[float, float]]] = {}
    for place, row in zip(places, rows, strict=True):
        for name, value in row.items():
            if name.endswith(endings) and value is not None:
                points = columns.setdefault(name, [])
                points.append((place, value))
    # In the order of the names, whatever column the first row has.
    return dict(sorted(columns.items()))


def _list_values(columns: Mapping[str, Points]) -> list[float]:
    values: list[float] = []
    for points in columns.values():
        values.extend(value for _, value in points)
    return values


def _mark_kept(
    chart: Chart,
    columns: Mapping[str, Points],
    places: Sequence[float],
    label: str,
) -> Chart:
    """Put dots on the first validation curve, at these places along the axis."""
    dots = []
    validation = [name for name in columns if name.startswith("val_")]
    for name in validation[:1]:
        for place, value in columns[name]:
            if place in places:
                x, y = chart.locate(place, value)
                dots.append(Dot(x, y, KEPT_RADIUS, label))
    if not dots:
        return chart
    return replace(chart, series=(*chart.series, Series(label, "kept", dots=tuple(dots))))


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
        counted = format_count(images, "image")
        title = f"{counted}: {confidence:.0%} sure, {accuracy:.0%} right"
        dots.append(Dot(x, y, round(radius, 1), title))
    return tuple(dots)

"""Which charts the page shows, from the rows of report.json."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from job.evaluation.charts import Chart, Points, Series, Tick, amount, share, steps

Rows = Sequence[Mapping[str, Any]]


def curves(history: Rows, metric: str) -> tuple[Chart, ...]:
    """Loss and score by epoch, over all stages; nothing for a history of fewer than two rows.

    Losses are the columns that end in `loss`; scores are those that end in the gate's metric or in
    `accuracy`.
    """
    if len(history) < 2:
        return ()
    losses = _columns(history, ("loss",))
    values = _columns(history, (metric, "accuracy"))
    top = max((y for points in losses.values() for _, y in points), default=1.0)
    axis = steps("step" if any("penalty" in row for row in history) else "epoch", len(history))
    charts = (Chart("Loss", axis, amount("", top)), Chart("Score, %", axis, share("")))
    return tuple(
        replace(chart, series=_lines(chart, columns), marks=_stages(chart, history))
        for chart, columns in zip(charts, (losses, values), strict=True)
        if columns
    )


def reliability_chart(calibration: Mapping[str, Any]) -> Chart:
    """Accuracy against confidence, a dot a bin, its area growing with its images; on the diagonal is honest."""
    chart = Chart("How often it is right, %, by its confidence", share("confidence, %"), share(""))
    diagonal = Series("honest", "guide", chart.line([(0, 0), (1, 1)]))
    stages = (("before", "as trained", "second"), ("after", "as released", "main"))
    dots = (
        _bins(chart, calibration[stage]["bins"], label, style) for stage, label, style in stages
    )
    return replace(chart, series=(diagonal, *dots))


def abstention_chart(coverage: Rows) -> Chart:
    """What happens when the model answers only from a confidence on."""
    chart = Chart(
        "If it only answers when it is sure, %", share("least confidence to answer, %"), share("")
    )
    rows = [(row["threshold"], row["accuracy"]) for row in coverage if row["accuracy"] is not None]
    answered = [(row["threshold"], row["coverage"]) for row in coverage]
    return replace(
        chart,
        series=(
            Series("images answered", "second", chart.line(answered)),
            Series("answers right", "main", chart.line(rows)),
        ),
    )


def _columns(history: Rows, endings: tuple[str, ...]) -> dict[str, Points]:
    """The points of each matching column, by epoch counted over all stages."""
    names = sorted({name for row in history for name in row if name.endswith(endings)})
    columns = {
        name: [
            (epoch, row[name]) for epoch, row in enumerate(history, 1) if row.get(name) is not None
        ]
        for name in names
    }
    return {name: points for name, points in columns.items() if points}


def _lines(chart: Chart, columns: Mapping[str, Points]) -> tuple[Series, ...]:
    """Validation in the accent colour, training in grey; further lines are dashed."""
    styles = {
        True: iter(("main", "main dashed", "main dotted")),
        False: iter(("second", "second dashed")),
    }
    drawn = []
    for name, points in columns.items():
        style = next(styles[name.startswith("val_")], "second dotted")
        label = ("" if name.startswith("val_") else "training ") + name.replace(
            "val_", "validation "
        ).replace("_", " ")
        drawn.append(Series(label, style, chart.line(points)))
    return tuple(drawn)


def _stages(chart: Chart, history: Rows) -> tuple[Tick, ...]:
    """Where each stage starts."""
    names = [str(row["stage"]) for row in history]
    starts = [index for index, name in enumerate(names) if index == 0 or name != names[index - 1]]
    return tuple(Tick(chart.place(index + 1, chart.y.low)[0], names[index]) for index in starts)


def _bins(chart: Chart, bins: Rows, label: str, style: str) -> Series:
    most = max((row["images"] for row in bins), default=1)
    return Series(
        label,
        style,
        dots=chart.dots(
            [(row["confidence"], row["accuracy"]) for row in bins],
            [
                f"{row['images']} images: {row['confidence']:.0%} sure, {row['accuracy']:.0%} right"
                for row in bins
            ],
            [3 + 8 * math.sqrt(row["images"] / most) for row in bins],
        ),
    )

"""The section "Accuracy over time" of `docs/results.md`, and its chart."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2

from job.evaluation import charts
from job.evaluation.charts import Axis, Chart, Dot, Series, make_percent_axis
from tools.bench.curves import (
    ANYTIME,
    Curve,
    average_accuracy,
    find_end,
    find_seconds,
    make_curve,
    trace_steps,
)
from tools.tables import format_table

CHART = f"{ANYTIME}.svg"
TITLE = "Accuracy of the newest model, %"
HEAD = """\
## Accuracy over time

How accurate is the newest model at each second from `exec`? Each competitor runs once, from nothing
and on all cores of the machine. All of them learn from the same pictures, and are judged on the
same other ones. The newest model counts and not the best one, which nothing but the test pictures
would tell.
"""
UNMEASURED = "Not measured yet: `python -m tools.bench.bench --rows anytime`."
MEAN = """\
The mean is that of the accuracy from `exec` to {end:.0f} s, where the longest curve ends. It is 0
before the first model, and each curve keeps its last accuracy to the end.
"""
AUTOGLUON = (
    "- AutoGluon was not measured: the preset `medium_quality` of version 1.6.3 takes the weights "
    "of `mobilenetv3_large_100` from the Hugging Face hub, and does not begin without them."
)
STYLES = {True: ("main", "main dashed"), False: ("second", "second dashed", "second dotted")}
TEMPLATE = "curve.svg.jinja"
# The second one has the template of the plot itself, which reports draw too.
TEMPLATES = (Path(__file__).parent, Path(charts.__file__).parent)


def render_section(found: Mapping[str, Any] | None) -> str:
    """The section, from its part of the file. None is a file without it."""
    if found is None:
        return f"{HEAD}\n{UNMEASURED}\n\n{AUTOGLUON}\n"
    curves = [make_curve(values) for values in found["curves"]]
    end = find_end(curves)
    lines = [HEAD, _describe_data(found), f"![{TITLE}]({CHART})", ""]
    lines += [_draw_table(curves, end), "", MEAN.format(end=end)]
    lines += [f"- {curve.name}: {curve.description}" for curve in curves]
    lines += [f"- {name} was not measured: {why}" for name, why in found["unmeasured"].items()]
    return "\n".join([*lines, AUTOGLUON]) + "\n"


def render_chart(found: Mapping[str, Any]) -> str:
    """The chart as SVG."""
    curves = [make_curve(values) for values in found["curves"]]
    end = find_end(curves)
    chart = Chart(title=TITLE, x=_make_seconds_axis(curves, end), y=make_percent_axis(""))
    styles = {ours: iter(names) for ours, names in STYLES.items()}
    series = [_plot_curve(chart, curve, next(styles[curve.ours]), end) for curve in curves]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template(TEMPLATE)
    return template.render(chart=replace(chart, series=tuple(series))) + "\n"


def _describe_data(found: Mapping[str, Any]) -> str:
    # Half of the 95 % interval of a share of 0.5, where it is widest.
    points = 100 * 1.96 * 0.5 / math.sqrt(found["test_images"])
    return (
        f"{found['training_images']} pictures to learn from and {found['test_images']} to test, "
        f"profile {found['profile']}, {found['measured']}, load {found['load']}. The 95 % interval "
        f"of an accuracy is up to ± {points:.0f} points, so smaller differences may be chance.\n"
    )


def _draw_table(curves: Sequence[Curve], end: float) -> str:
    """The table: a column for each of our accuracies, with the seconds to it."""
    targets = sorted({curve.last_accuracy for curve in curves if curve.ours})
    reached = [f"reaches {accuracy:.3f}, s" for accuracy in targets]
    head = ["competitor", "first model, s", "its accuracy", *reached]
    head += ["last model, s", "its accuracy", "mean"]
    rows = []
    for curve in curves:
        rows.append(
            [
                curve.name,
                f"{curve.first_seconds:.1f}",
                f"{curve.points[0][1]:.3f}",
                *(_describe_reaching(curve, accuracy) for accuracy in targets),
                f"{curve.last_seconds:.1f}",
                f"{curve.last_accuracy:.3f}",
                f"**{average_accuracy(curve, end):.3f}**",
            ]
        )
    return format_table(head, rows)


def _describe_reaching(curve: Curve, accuracy: float) -> str:
    seconds = find_seconds(curve, accuracy)
    return f"never in {curve.last_seconds:.0f}" if seconds is None else f"{seconds:.1f}"


def _make_seconds_axis(curves: Sequence[Curve], end: float) -> Axis:
    """A logarithmic axis from a round number before the first model to the end."""
    first = min(curve.first_seconds for curve in curves)
    powers = range(math.floor(math.log10(first)), math.ceil(math.log10(end)) + 1)
    places = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    low = max(place for place in places if place <= first)
    return Axis(
        label="seconds from exec",
        low=low,
        high=max(end, 2 * low),
        places=tuple(place for place in places if low <= place <= end),
        is_logarithmic=True,
    )


def _plot_curve(chart: Chart, curve: Curve, style: str, end: float) -> Series:
    """The steps of a curve. What has one model only has a dot where it is."""
    dots: tuple[Dot, ...] = ()
    if len(curve.points) == 1:
        x, y = chart.locate(*curve.points[0])
        dots = (Dot(x, y, 3.5, f"{curve.last_accuracy:.3f} at {curve.last_seconds:.1f} s"),)
    label = curve.name.replace("`", "")
    return Series(label, style, chart.format_line(trace_steps(curve, end)), dots)

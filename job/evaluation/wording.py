"""Put the numbers of report.json into words, for the page and the model card."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

SPACE, DASH, MINUS = "\N{NO-BREAK SPACE}", "\N{EN DASH}", "\N{MINUS SIGN}"
# Fewer judged images than this cannot tell candidates apart that differ by a few points.
FEW_JUDGED = 200
# The lecture's advice, by kind and amount of the data.
ADVICE = {
    ("like", "little"): "retrain none: a new head on frozen features",
    ("like", "much"): "retrain a part: the last stages",
    ("unlike", "little"): "retrain a part: from an early layer on",
    ("unlike", "much"): "retrain all, from ImageNet's weights",
}


def format_percent(value: float | None) -> str:
    """Format a share as `91 %`. It reads `0 %` or `100 %` only where it is exactly that."""
    if value is None:
        return DASH
    return f"{_format_hundredths(value)}{SPACE}%"


def format_tenths(value: float | None) -> str:
    """Format a share as `91.4 %`, where it is compared with others that are close to it."""
    if value is None:
        return DASH
    return f"{100 * value:.1f}{SPACE}%"


def format_range(low: float | None, high: float | None) -> str:
    """Format two shares as `80-96 %`, with an en dash."""
    if low is None or high is None:
        return DASH
    lowest = _format_hundredths(low)
    highest = _format_hundredths(high)
    return f"{lowest}{DASH}{highest}{SPACE}%"


def format_points(share: float | None) -> str:
    """Format a difference of two shares as `2.1 points`, with a minus sign where it is negative."""
    if share is None:
        return DASH
    text = f"{abs(100 * share):.1f}"
    sign = MINUS if share < 0 and float(text) else ""
    return f"{sign}{text}{SPACE}points"


def format_gain(share: float | None) -> str:
    """Format a difference of two shares as `+2.1`, in points."""
    if share is None:
        return DASH
    text = f"{abs(100 * share):.1f}"
    if not float(text):
        return "0.0"
    return f"{MINUS if share < 0 else '+'}{text}"


def format_millions(count: int) -> str:
    """Format a number of parameters as `3.4 million`."""
    return f"{count / 1e6:.1f}{SPACE}million"


def name_metric(name: str) -> str:
    """The name of a metric for people: `macro_f1` is `macro-F1`."""
    if name == "macro_f1":
        return "macro-F1"
    return name.replace("_", " ")


def describe_kind(measurement: Mapping[str, Any]) -> str:
    """Say in one sentence how much the data are like ImageNet, and by which number."""
    added = measurement["earlier_stages_add"]
    verdict = "like" if measurement["kind"] == "like" else "unlike"
    gain = "nothing" if added < 0.0005 else format_points(added)
    return (
        f"The earlier stages of the network add {gain} to what the last one knows of these "
        f"classes, so the images are {verdict} ImageNet."
    )


def describe_amount(measurement: Mapping[str, Any]) -> str:
    """Say in one sentence how much data there is, and by which number."""
    gain = format_points(max(measurement["doubling"], 0.0))
    amount = "much" if measurement["amount"] == "much" else "little"
    return f"Twice the images would bring about {gain}, so this is {amount} data."


def describe_doubling(measurement: Mapping[str, Any]) -> str:
    """Say in one sentence what twice the images would bring."""
    gain = format_points(max(measurement["doubling"], 0.0))
    return f"Twice the images would bring about {gain}."


def describe_evidence(images: Sequence[Mapping[str, Any]]) -> str:
    """Say in one sentence that the choice is weak, or nothing where enough images judged it.

    Args:
        images: of each class, by part.
    """
    judged = sum(row["val"] for row in images)
    if judged >= FEW_JUDGED:
        return ""
    return f"The choice is weak: {judged} validation images judged it, fewer than {FEW_JUDGED}."


def describe_promotion(promotion: Mapping[str, Any]) -> str:
    """Say whether the model was promoted, and why."""
    verdict = "Promoted." if promotion["decision"] == "promote" else "Kept, not promoted."
    reason = promotion["reason"]
    # A reason may begin with the name of a metric.
    return f"{verdict} {reason[:1].upper()}{reason[1:]}"


def escape_markdown(text: object) -> str:
    """Make a name inert in Markdown and in the HTML that Markdown lets through."""
    # A line break would end a table's row or a list's entry.
    words = str(text).split()
    line = " ".join(words)
    # The ampersand first, or it would escape the other two a second time.
    entities = {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
    }
    for character, entity in entities.items():
        line = line.replace(character, entity)
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", line)


def _format_hundredths(share: float) -> str:
    """Format with as few decimals as tell the share from 0 and from 1."""
    percent = 100 * share
    for decimals in range(7):
        text = f"{percent:.{decimals}f}"
        if share in (0, 1) or float(text) not in (0, 100):
            return text
    return f"{percent:.0f}"

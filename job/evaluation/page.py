"""Render the content of report.json as the HTML page and the model card."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from job.evaluation.plots import plot_abstention, plot_history, plot_reliability

# With more classes, the page shows no confusion matrix and folds the long tables.
READABLE_CLASSES = 30
# Rows of the table of the weakest classes, which stands in for a long table.
WEAKEST_CLASSES = 20
# Rows of the table of confusions.
WORST_CONFUSIONS = 8

SPACE, DASH = "\N{NO-BREAK SPACE}", "\N{EN DASH}"
MODES = {
    "none": "None of the backbone was retrained",
    "part": "Part of the backbone was retrained",
    "all": "All of the backbone was retrained",
}
FORMATS = {
    "saved_model": "SavedModel",
    "keras": "Keras",
    "onnx": "ONNX",
    "litert": "LiteRT",
    "preprocess": "preprocess.py, then Keras",
}


def render_page(content: Mapping[str, Any], thumbnails: Sequence[str | None]) -> str:
    """Render the HTML page. It is self-contained, has no script, and escapes every name.

    Args:
        content: the content of report.json.
        thumbnails: a data: URI, or None, for each of its mistakes.
    """
    history = content["history"]
    cells = {}
    for cell in content["test"]["confusion"]:
        key = (cell["true"], cell["predicted"])
        cells[key] = cell["images"]

    leaks = []
    for leak in content["leaks"]:
        leaks.append((leak["name"], leak["reason"]))

    near_duplicates = []
    for pair in content["near_duplicates"]:
        first = f"{pair['name']} ({pair['split']})"
        second = f"{pair['other']} ({pair['other_split']})"
        near_duplicates.append(f"{first} and {second}")

    gallery = zip(content["mistakes"], thumbnails, strict=True)
    values = {
        "readable": len(content["images"]) <= READABLE_CLASSES,
        "weakest": WEAKEST_CLASSES,
        # Only a row of a solved head has a penalty.
        "is_solved": any("penalty" in row for row in history),
        "cells": cells,
        "leaked": leaks,
        "alike": near_duplicates,
        # A list: an empty zip would count as true in the template.
        "gallery": list(gallery),
        "loss_and_score": plot_history(history, content["gate"]["metric"]),
        "reliability": plot_reliability(content["calibration"]),
        "abstaining": plot_abstention(content["coverage"]),
    }
    environment = _make_environment(autoescape=True)
    template = environment.get_template("page.html")
    return template.render(content, **_summarise_content(content), **values)


def render_card(content: Mapping[str, Any]) -> str:
    """Render the model card (Mitchell et al. 2019, arXiv 1810.03993) in Markdown."""
    # Escaping for HTML would show in Markdown: the template passes every name through `markdown`.
    environment = _make_environment(autoescape=False)
    template = environment.get_template("card.md")
    return template.render(content, **_summarise_content(content))


def summarise_result(content: Mapping[str, Any]) -> str:
    """Say in one sentence how good the model is."""
    test = content["test"]
    classes = len(content["images"])
    task = f"Graft learnt to tell {classes} classes apart"
    if not test["images"]:
        return f"{task}. There was no held-out image to judge it."
    accuracy = format_percent(test["accuracy"])
    images = format_count(test["images"], "held-out image")
    interval = format_range(test["accuracy_low"], test["accuracy_high"])
    return f"{task}: {accuracy} of {images} right (95{SPACE}% interval {interval})."


def describe_gate(content: Mapping[str, Any]) -> str:
    """Say in one sentence whether the model passes the gate."""
    gate = content["gate"]
    metric = gate["metric"]
    least = gate["min_score"]
    if not least:
        return "The gate has no minimum score."
    score = content["test"][metric]
    received = format_percent(score)
    expected = f"{name_metric(metric)} of at least {format_percent(least)}"
    if score >= least:
        return f"It passes the gate, {expected}, with {received}."
    return f"It misses the gate, {expected}, with {received}. It is kept, not promoted."


def find_worst_confusions(test: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Find the confusions with most images, each with its share of the true class."""
    support = {}
    for row in test["per_class"]:
        support[row["name"]] = row["support"]

    confusions = []
    for cell in test["confusion"]:
        true = cell["true"]
        if true != cell["predicted"]:
            share = cell["images"] / support[true]
            confusions.append({**cell, "share": share})
    confusions.sort(key=lambda row: (-row["images"], -row["share"]))
    return confusions[:WORST_CONFUSIONS]


def format_percent(value: float | None) -> str:
    """Format a share as `91 %`. It reads `0 %` or `100 %` only where it is exactly that."""
    if value is None:
        return DASH
    return f"{_format_hundredths(value)}{SPACE}%"


def format_range(low: float, high: float) -> str:
    """Format two shares as `80-96 %`, with an en dash."""
    lowest = _format_hundredths(low)
    highest = _format_hundredths(high)
    return f"{lowest}{DASH}{highest}{SPACE}%"


def format_count(count: int, noun: str, plural: str = "") -> str:
    """Format a count with its noun: `1 image`, `1,024 images`."""
    if count == 1:
        return f"{count:,} {noun}"
    plural = plural or f"{noun}s"
    return f"{count:,} {plural}"


def name_metric(name: str) -> str:
    """The name of a metric for people: `macro_f1` is `macro-F1`."""
    if name == "macro_f1":
        return "macro-F1"
    return name.replace("_", " ")


def _summarise_content(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page and the card both say beside the content."""
    return {
        "result": summarise_result(content),
        "gate_result": describe_gate(content),
        "confusions": find_worst_confusions(content["test"]),
    }


def _format_hundredths(share: float) -> str:
    """Format with as few decimals as tell the share from 0 and from 1."""
    percent = 100 * share
    for decimals in range(7):
        text = f"{percent:.{decimals}f}"
        if share in (0, 1) or float(text) not in (0, 100):
            return text
    return f"{percent:.0f}"


def _flatten_groups(groups: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested groups as rows: `training.epochs`."""
    for name, value in sorted(groups.items()):
        path = prefix + name
        if isinstance(value, Mapping):
            yield from _flatten_groups(value, f"{path}.")
        elif isinstance(value, list):
            yield path, ", ".join(map(str, value))
        else:
            yield path, value


def _escape_markdown(text: object) -> str:
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


def _make_environment(*, autoescape: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=autoescape,
        # A misspelt name in a template must fail, not vanish.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": format_percent,
        "format_count": format_count,
        "flat": _flatten_groups,
        "markdown": _escape_markdown,
        "describe_mode": lambda mode: MODES.get(mode, mode),
        "format_name": lambda name: FORMATS.get(name, name),
    }
    environment.globals |= {"format_range": format_range}
    return environment

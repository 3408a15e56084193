"""Render the content of report.json as the HTML page and the model card."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from job.evaluation.backbones import plot_backbones
from job.evaluation.findings import PICTURED, group_findings
from job.evaluation.measured import (
    plot_candidates,
    plot_difference,
    plot_learning_curve,
    plot_profile,
)
from job.evaluation.neighbours import list_neighbours, locate_export, locate_report
from job.evaluation.pictures import MOST_SUSPECTS, PagePictures
from job.evaluation.plots import (
    plot_abstention,
    plot_history,
    plot_penalties,
    plot_reliability,
)
from job.evaluation.square import draw_square
from job.evaluation.wording import (
    ADVICE,
    SPACE,
    describe_amount,
    describe_doubling,
    describe_evidence,
    describe_kind,
    describe_promotion,
    escape_markdown,
    format_gain,
    format_millions,
    format_percent,
    format_points,
    format_range,
    format_tenths,
    name_metric,
)
from job.plurals import format_count
from job.result import has_top_k

# With more classes, the page shows no confusion matrix and folds the long tables.
READABLE_CLASSES = 30
# Rows of the table of the weakest classes, which stands in for a long table.
WEAKEST_CLASSES = 20
# Rows of the table of confusions.
WORST_CONFUSIONS = 8

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


def render_page(content: Mapping[str, Any], pictures: PagePictures) -> str:
    """Render the HTML page. It is self-contained, has no script, and escapes every name.

    Args:
        content: the content of report.json.
        pictures: of what it names.
    """
    cells = {}
    for cell in content["test"]["confusion"]:
        key = (cell["true"], cell["predicted"])
        cells[key] = cell["images"]

    gallery = zip(content["mistakes"], pictures.mistakes, pictures.evidence, strict=True)
    history = content["history"]
    metric = content["gate"].get("metric", "accuracy")
    values = {
        "readable": len(content["images"]) <= READABLE_CLASSES,
        "weakest": WEAKEST_CLASSES,
        "cells": cells,
        "pictures": pictures,
        "pictured": PICTURED,
        "most_suspects": MOST_SUSPECTS,
        "finding_groups": group_findings(content),
        "has_examples": any(pictures.examples.values()),
        "neighbours": list_neighbours(content),
        # A list: an empty zip would count as true in the template.
        "gallery": list(gallery),
        "has_evidence": any(pictures.evidence),
        "penalties": plot_penalties(history, metric),
        "epochs": plot_history(_select_kept(content), metric),
        "reliability": plot_reliability(content["calibration"]),
        "abstaining": plot_abstention(content["coverage"]),
    }
    environment = _make_environment(autoescape=True)
    template = environment.get_template("page.html")
    summary = _summarise_content(content)
    return template.render(content, **summary, **values, **_draw_measurement(content))


def _select_kept(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The history without the candidates that were not kept."""
    dropped = {row["name"] for row in content["candidates"] if not row["chosen"]}
    return [row for row in content["history"] if row["stage"] not in dropped]


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
    kind = "held-out image"
    if content["evaluated"]:
        task = f"A model for {classes} classes was judged on other images"
        kind = "image"
    if not test["images"]:
        return f"{task}. There was no {kind} to judge it."
    accuracy = format_percent(test["accuracy"])
    images = format_count(test["images"], kind)
    interval = format_range(test["accuracy_low"], test["accuracy_high"])
    return f"{task}: {accuracy} of {images} right (95{SPACE}% interval {interval})."


def describe_gate(content: Mapping[str, Any]) -> str:
    """Say in one sentence whether the model passes the gate; nothing where there is none."""
    gate = content["gate"]
    if content["evaluated"]:
        return ""
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


def _summarise_content(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page and the card both say beside the content."""
    return {
        "result": summarise_result(content),
        "gate_result": describe_gate(content),
        "has_top_k": has_top_k(len(content["images"])),
        "confusions": find_worst_confusions(content["test"]),
        # Releases of an earlier version do not say it.
        "undone": any(row.get("undone") for row in content["refinements"]),
    }


def _draw_measurement(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the charts of what was measured. None where it was not measured."""
    values: dict[str, Any] = {
        "square": None,
        "profile": None,
        "learning_curve": None,
        "candidate_scores": plot_candidates(content["candidates"]),
        "backbone_scores": plot_backbones(content["backbones"]),
        "difference": None,
    }
    measurement = content["measurement"]
    if measurement:
        values["square"] = draw_square(measurement)
        values["profile"] = plot_profile(measurement)
        values["learning_curve"] = plot_learning_curve(measurement)
    if content["promotion"]:
        values["difference"] = plot_difference(content["promotion"])
    return values


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
        "tenths": format_tenths,
        "points": format_points,
        "gain": format_gain,
        "metric_name": name_metric,
        "millions": format_millions,
        "format_count": format_count,
        "flat": _flatten_groups,
        "markdown": escape_markdown,
        "locate_export": locate_export,
        "locate_report": locate_report,
        "describe_mode": lambda mode: MODES.get(mode, mode),
        "format_name": lambda name: FORMATS.get(name, name),
    }
    environment.globals |= {
        "advice": ADVICE,
        "describe_amount": describe_amount,
        "describe_doubling": describe_doubling,
        "describe_evidence": describe_evidence,
        "describe_kind": describe_kind,
        "describe_promotion": describe_promotion,
        "format_range": format_range,
    }
    return environment

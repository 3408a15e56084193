"""From the content of report.json to the two pages that people read."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from job.evaluation.plots import abstention_chart, curves, reliability_chart

READABLE_CLASSES = 30
SHOWN = 20
WORST_PAIRS = 8

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


def render_page(told: Mapping[str, Any], pictures: Sequence[str | None]) -> str:
    """The HTML page: self-contained, without script, every name escaped.

    Args:
        told: the content of report.json.
        pictures: a data: URI, or None, for each of its mistakes.
    """
    page = _environment(autoescape=True).get_template("page.html")
    gallery = list(zip(told["mistakes"], pictures, strict=True))
    return page.render(told, **_words(told), **_charts(told), **_rows(told), gallery=gallery)


def render_card(told: Mapping[str, Any]) -> str:
    """The model card (Mitchell et al. 2019, arXiv 1810.03993) in Markdown."""
    page = _environment(autoescape=False).get_template("card.md")
    return page.render(told, **_words(told))


def _words(told: Mapping[str, Any]) -> dict[str, Any]:
    return {"answer": answer(told), "verdict": verdict(told), "pairs": worst_pairs(told["test"])}


def _charts(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "loss_and_score": curves(told["history"], told["gate"]["metric"]),
        "reliability": reliability_chart(told["calibration"]),
        "asking": abstention_chart(told["coverage"]),
    }


def _rows(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "readable": len(told["images"]) <= READABLE_CLASSES,
        "shown": SHOWN,
        "cells": {
            (cell["true"], cell["predicted"]): cell["images"] for cell in told["test"]["confusion"]
        },
        "solved": any("penalty" in row for row in told["history"]),
        "leaked": [(row["name"], row["reason"]) for row in told["leaks"]],
        "alike": [
            f"{pair['name']} ({pair['split']}) and {pair['other']} ({pair['other_split']})"
            for pair in told["near_duplicates"]
        ],
    }


def answer(told: Mapping[str, Any]) -> str:
    """The whole report in one sentence."""
    test, learnt = told["test"], f"Graft learnt to tell {len(told['images'])} classes apart"
    if not test["images"]:
        return f"{learnt}; no held-out image was there to judge it."
    interval = f"95{SPACE}% interval {span(test['accuracy_low'], test['accuracy_high'])}"
    return f"{learnt}: {percent(test['accuracy'])} of {plural(test['images'], 'held-out image')} right ({interval})."


def verdict(told: Mapping[str, Any]) -> str:
    """Whether the model passes the gate, in one sentence."""
    metric, least = told["gate"]["metric"], told["gate"]["min_score"]
    score = told["test"][metric]
    if not least:
        return "Its gate asks for no least score."
    wanted = f"{words(metric)} of at least {percent(least)}"
    if score >= least:
        return f"It passes its gate, {wanted}, with {percent(score)}."
    return f"It misses its gate, {wanted}, with {percent(score)}: kept, not promoted."


def worst_pairs(test: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The confusions that hold most images, each with its share of the true class."""
    support = {row["name"]: row["support"] for row in test["per_class"]}
    wrong = [cell for cell in test["confusion"] if cell["true"] != cell["predicted"]]
    wrong.sort(key=lambda cell: (-cell["images"], -cell["images"] / support[cell["true"]]))
    return [
        {**cell, "share": cell["images"] / support[cell["true"]]} for cell in wrong[:WORST_PAIRS]
    ]


def percent(value: float | None) -> str:
    """A share as text: `91 %`. Never `0 %` or `100 %` unless it is exactly so."""
    return DASH if value is None else f"{_hundredths(value)}{SPACE}%"


def span(low: float, high: float) -> str:
    """Two shares as text: `80-96 %` with a dash of the right length."""
    return f"{_hundredths(low)}{DASH}{_hundredths(high)}{SPACE}%"


def plural(count: int, noun: str, nouns: str = "") -> str:
    """A count with its noun: `1 image`, `1,024 images`."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def words(name: str) -> str:
    """A figure's name for people: `macro_f1` is `macro-F1`."""
    return {"macro_f1": "macro-F1"}.get(name, name.replace("_", " "))


def _hundredths(share: float) -> str:
    texts = (f"{100 * share:.{digits}f}" for digits in range(7))
    return next(
        (text for text in texts if share in (0, 1) or float(text) not in (0, 100)),
        f"{100 * share:.0f}",
    )


def _flat(groups: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested groups as rows: `training.epochs`."""
    for name, value in sorted(groups.items()):
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, ", ".join(map(str, value)) if isinstance(value, list) else value


def _markdown(text: object) -> str:
    """Make a name inert in Markdown and in the HTML that Markdown lets through."""
    line = (
        " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    )
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", line)


def _environment(autoescape: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": percent,
        "plural": plural,
        "words": words,
        "flat": _flat,
        "markdown": _markdown,
        "sentence": lambda mode: MODES.get(mode, mode),
        "format_name": lambda name: FORMATS.get(name, name),
    }
    environment.globals |= {"span": span}
    return environment

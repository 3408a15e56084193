"""Write report.json, report.html, model-card.md and suspects.csv."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from job.evaluation.context import ReportContext
from job.evaluation.gallery import draw_pictures
from job.evaluation.page import render_card, render_page
from job.evaluation.plain_values import convert_to_json, list_fields
from job.evaluation.report import Report

# Version of the format of report.json.
SCHEMA = 1
SUSPECT_COLUMNS = ("image", "label", "likelier", "probability", "part")
# Fields of the context that are null in report.json where nothing was measured.
MEASURED = ("measurement", "suspects", "promotion")


def write(report: Report, context: ReportContext, folder: Path) -> None:
    """Write report.json, report.html and, for a run, model-card.md into `folder`.

    Equal reports and contexts give equal bytes.
    """
    content = _collect_content(report, context)
    pictures = draw_pictures(report, content, context.image_files)
    text = json.dumps(
        content,
        indent=2,
        sort_keys=True,
        ensure_ascii=False,
        allow_nan=False,
    )

    files = {
        "report.json": text + "\n",
        "report.html": render_page(content, pictures),
    }
    if context.evaluated is None:
        files["model-card.md"] = render_card(content)
    if context.suspects:
        files["suspects.csv"] = _format_suspects(context.suspects["rows"])
    folder.mkdir(parents=True, exist_ok=True)
    for name, file_text in files.items():
        path = folder / name
        path.write_text(
            file_text,
            encoding="utf-8",
            # A file name that is not UTF-8 holds lone surrogates. They are written as \udcXX.
            errors="backslashreplace",
            newline="\n",
        )


def _collect_content(report: Report, context: ReportContext) -> dict[str, Any]:
    """Return the content of report.json."""
    mistakes = []
    for mistake in report.mistakes:
        row = list_fields(mistake)
        # A path differs from machine to machine, and the page shows the evidence.
        del row["path"], row["evidence"]
        mistakes.append(row)
    values = {
        "schema": SCHEMA,
        **report.data,
        **list_fields(context),
        "mistakes": mistakes,
    }
    del values["image_files"]
    for name in MEASURED:
        values[name] = values[name] or None
    content: dict[str, Any] = convert_to_json(values)
    return content


def _format_suspects(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format as CSV: image, label, likelier, probability, part. The most suspicious come first."""
    text = io.StringIO()
    writer = csv.DictWriter(text, SUSPECT_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()

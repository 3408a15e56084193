"""Name the files beside the report, for its links.

All links are relative, and lead to files: a bucket has no folders that a browser could open.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# What a browser opens of an export that is a folder.
MAIN_FILES = {"saved_model": "saved_model.pb"}


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A file beside the report."""

    path: str
    purpose: str


def list_neighbours(content: Mapping[str, Any]) -> list[Neighbour]:
    """List the files beside the report, without the exports.

    Args:
        content: that of report.json.
    """
    numbers = Neighbour("report.json", "all numbers of this page, for programs")
    if content["evaluated"]:
        return [numbers]
    neighbours = [
        Neighbour("model-card.md", "what the model is for, its limits and how to load it"),
        numbers,
        Neighbour("history.csv", "losses and scores by epoch, or by penalty of a solved head"),
    ]
    if content["suspects"]:
        neighbours.append(
            Neighbour("suspects.csv", "images whose labels may be wrong, the worst ones first")
        )
    return [
        *neighbours,
        Neighbour("dataset.json", "every image by content, with its class and part of the split"),
        Neighbour("labels.json", "the classes, in the order of the outputs"),
        Neighbour("preprocess.json", "how an image file becomes the pixels that the model takes"),
        Neighbour("preprocess.py", "the same as code, with NumPy and Pillow"),
        Neighbour("manifest.json", "settings, versions, decision, and the SHA-256 of every file"),
        Neighbour("logs/log.jsonl", "the log of the run; logs/tensorboard is for TensorBoard"),
    ]


def locate_export(export: Mapping[str, Any]) -> str:
    """The file of an export that a link leads to."""
    main_file = MAIN_FILES.get(export["format"])
    return f"{export['path']}/{main_file}" if main_file else export["path"]


def locate_report(run_id: str) -> str:
    """The report of another release of the same model."""
    return f"../{run_id}/report.html"

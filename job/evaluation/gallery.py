"""Choose the pictures of the page, and keep them within its size."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from job.evaluation.findings import group_findings, list_pictured_images
from job.evaluation.pictures import (
    LARGE,
    MEDIUM,
    MOST_SUSPECTS,
    SMALL,
    PagePictures,
    PictureSize,
    Thumbnail,
    draw_evidence,
    make_thumbnail,
)
from job.evaluation.report import MOST_EXAMPLES, Report

# Bytes of all pictures together, as text of the page. With 30 classes, the rest of it has about
# 150,000.
MOST_BYTES = 440_000
# Examples of all classes together: with more than 30 classes, each has fewer.
MOST_OF_ALL_CLASSES = 180


class PictureBudget:
    """What is left of the bytes that pictures may take."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._left = most_bytes

    def admit(self, uri: str | None) -> str | None:
        """Return the picture, or None if it does not fit any more."""
        if uri is None or len(uri) > self._left:
            return None
        self._left -= len(uri)
        return uri

    def draw(self, path: Path | None, size: PictureSize) -> str | None:
        """Draw a picture of a file, or None where there is none or it does not fit any more."""
        return None if path is None else self.admit(make_thumbnail(path, size))


def draw_pictures(
    report: Report, content: Mapping[str, Any], files: Mapping[str, Path]
) -> PagePictures:
    """Draw the pictures of the page, the most important ones first.

    Args:
        report: with the files of mistakes and examples.
        content: that of report.json.
        files: the local files of the data set, by name of the image.
    """
    budget = PictureBudget()
    mistakes = []
    evidence = []
    for mistake in report.mistakes:
        mistakes.append(budget.draw(mistake.path, LARGE))
        layer = None if mistake.evidence is None else draw_evidence(mistake.evidence)
        evidence.append(budget.admit(layer))

    suspects = content["suspects"] or {"rows": ()}
    sizes = {row["image"]: LARGE for row in suspects["rows"][:MOST_SUSPECTS]}
    for name in list_pictured_images(group_findings(content)):
        sizes.setdefault(name, MEDIUM)
    named = {}
    for name, size in sizes.items():
        if uri := budget.draw(files.get(name), size):
            named[name] = uri
    return PagePictures(
        mistakes=tuple(mistakes),
        evidence=tuple(evidence),
        named=named,
        examples=_draw_examples(report, budget),
    )


def _draw_examples(report: Report, budget: PictureBudget) -> dict[str, tuple[Thumbnail, ...]]:
    """Draw images of each class, one of every class at a time, so that all have alike many."""
    drawn: dict[str, list[Thumbnail]] = {name: [] for name in report.examples}
    of_each = min(MOST_EXAMPLES, MOST_OF_ALL_CLASSES // len(drawn))
    for index in range(of_each):
        for name, examples in report.examples.items():
            path = examples[index].path if index < len(examples) else None
            if uri := budget.draw(path, SMALL):
                drawn[name].append(Thumbnail(examples[index].name, uri))
    return {name: tuple(thumbnails) for name, thumbnails in drawn.items()}

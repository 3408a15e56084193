"""A table of images (.csv with a heading, or .jsonl): `image`, `label`, optionally `split` and `group`.

`image` is a path relative to the manifest's own folder. Absolute paths and URIs are refused: a data
set is one tree under one set of credentials, and a table from elsewhere must not point out of it.
"""

import csv
import io
import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from job.dataset.layout import SPLITS, Place
from job.errors import DatasetError

SUFFIXES = (".csv", ".jsonl")
COLUMNS = ("image", "label", "split", "group")
CURE = "Each row needs an image (a path relative to the manifest's folder) and a label; split and group are optional."


@dataclass(frozen=True, slots=True)
class ImageManifest:
    """`places` by image path, and every row that cannot be used, in words."""

    places: Mapping[str, Place]
    problems: tuple[str, ...]


def read(data: bytes, name: str) -> ImageManifest:
    """Read all rows and gather what is wrong with them.

    Raises:
        DatasetError: the table itself cannot be read: not UTF-8, or without its columns.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DatasetError(
            f"{name}, line {line}: not UTF-8.", "Save the manifest as UTF-8."
        ) from error
    rows = _json_rows(text) if name.lower().endswith(".jsonl") else _csv_rows(text, name)
    return _gather(rows)


def _gather(rows: Iterator[tuple[int, Mapping[str, Any] | ValueError]]) -> ImageManifest:
    places: dict[str, Place] = {}
    lines: dict[str, int] = {}
    problems: list[str] = []
    for line, row in rows:
        try:
            image, place = _read_row(row)
            if image in places:
                raise ValueError(f"names {image} again, after line {lines[image]}")
            places[image], lines[image] = place, line
        except ValueError as error:
            problems.append(f"line {line} {error}")
    return ImageManifest(places, (*problems, *_half_split(places, lines)))


def _half_split(places: Mapping[str, Place], lines: Mapping[str, int]) -> Iterator[str]:
    without = [image for image, place in places.items() if place.split is None]
    if without and len(without) < len(places):
        yield f"line {lines[without[0]]} has no split although other rows have one ({len(without):,} such rows)"


def _read_row(row: Mapping[str, Any] | ValueError) -> tuple[str, Place]:
    if isinstance(row, ValueError):
        raise row
    cells = {
        str(key).strip().lower(): _text(value) for key, value in row.items() if key is not None
    }
    image, label, split, group = (cells.get(column, "") for column in COLUMNS)
    if not image:
        raise ValueError("has no image")
    if not label:
        raise ValueError(f"has no label ({image})")
    if split and split.lower() not in SPLITS:
        raise ValueError(f"has the split {split!r}; expected {', '.join(SPLITS)} or nothing")
    return _inside(image), Place(
        unicodedata.normalize("NFC", label), SPLITS.get(split.lower()), group or None
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"has {json.dumps(value)[:40]}; expected text")


def _inside(image: str) -> str:
    path = image.removeprefix("./")
    if path.startswith("/") or "://" in path or ".." in path.split("/"):
        raise ValueError(
            f"names {image}; expected a path relative to the manifest's folder, inside it"
        )
    return path


def _json_rows(text: str) -> Iterator[tuple[int, Mapping[str, Any] | ValueError]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        yield number, row if isinstance(row, dict) else ValueError("is no JSON object")


def _csv_rows(text: str, name: str) -> Iterator[tuple[int, Mapping[str, Any] | ValueError]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        found = [str(field).strip().lower() for field in reader.fieldnames or ()]
        if missing := [column for column in COLUMNS[:2] if column not in found]:
            received = ", ".join(found)[:80] or "nothing"
            raise DatasetError(
                f"{name} has no column {' and no column '.join(missing)}; its heading is: {received}.",
                CURE,
            )
        for row in reader:
            extra = row.get(None)
            yield reader.line_num, ValueError("has more cells than the heading") if extra else row
    except csv.Error as error:
        yield reader.reader.line_num, ValueError(f"is no CSV: {error}")

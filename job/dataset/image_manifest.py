"""A table of images (.csv with a header, or .jsonl): `image`, `label`, and maybe `split`, `group`.

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
REQUIRED_COLUMNS = ("image", "label")
CURE = (
    "Each row needs an image (a path relative to the manifest's folder) and a label; "
    "split and group are optional."
)

# The number of its line and its cells, or why it has none.
Row = tuple[int, Mapping[str, Any] | ValueError]


@dataclass(frozen=True, slots=True)
class ImageManifest:
    """`places` by image path, and a description of every row that cannot be used."""

    places: Mapping[str, Place]
    problems: tuple[str, ...]


def read(data: bytes, name: str) -> ImageManifest:
    """Read all rows and collect what is wrong with them.

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
    is_json = name.lower().endswith(".jsonl")
    rows = _read_json_rows(text) if is_json else _read_csv_rows(text, name)

    places: dict[str, Place] = {}
    lines: dict[str, int] = {}
    problems = []
    for line, row in rows:
        try:
            if isinstance(row, ValueError):
                raise row
            image, place = _parse_row(row)
            if image in places:
                raise ValueError(f"names {image} again, after line {lines[image]}")
        except ValueError as error:
            problems.append(f"line {line} {error}")
        else:
            places[image] = place
            lines[image] = line

    # Half a split is a mistake: nobody can know where the other images should go.
    without = [image for image, place in places.items() if place.split is None]
    if without and len(without) < len(places):
        first_line = lines[without[0]]
        problems.append(
            f"line {first_line} has no split although other rows have one "
            f"({len(without):,} such rows)"
        )
    return ImageManifest(places, tuple(problems))


def _parse_row(row: Mapping[str, Any]) -> tuple[str, Place]:
    """The image of a row and what is known of it. Raises a ValueError that completes "line 3 …"."""
    cells = {}
    for key, value in row.items():
        if key is not None:
            column = str(key).strip().lower()
            cells[column] = _parse_text(value)
    image = cells.get("image", "")
    label = cells.get("label", "")
    split = cells.get("split", "")
    if not image:
        raise ValueError("has no image")
    if not label:
        raise ValueError(f"has no label ({image})")
    if split and split.lower() not in SPLITS:
        raise ValueError(f"has the split {split!r}; expected {', '.join(SPLITS)} or nothing")

    # See the head of this file: the table must not point out of its folder.
    path = image.removeprefix("./")
    leads_outside = ".." in path.split("/")
    if path.startswith("/") or "://" in path or leads_outside:
        raise ValueError(
            f"names {image}; expected a path relative to the manifest's folder, inside it"
        )

    place = Place(
        # One spelling, so that "é" of a Mac and of a PC are one class.
        label=unicodedata.normalize("NFC", label),
        split=SPLITS.get(split.lower()),
        group=cells.get("group") or None,
    )
    return path, place


def _parse_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    # True and False are integers in Python, but no labels.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    shown = json.dumps(value)[:40]
    raise ValueError(f"has {shown}; expected text")


def _read_json_rows(text: str) -> Iterator[Row]:
    # Not `splitlines`, which also splits at characters that JSON strings may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            yield number, row
        else:
            yield number, ValueError("is not a JSON object")


def _read_csv_rows(text: str, name: str) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        found = [str(field).strip().lower() for field in reader.fieldnames or ()]
        missing = [column for column in REQUIRED_COLUMNS if column not in found]
        if missing:
            columns = " and no column ".join(missing)
            header = ", ".join(found)[:80] or "nothing"
            raise DatasetError(
                f"{name} has no column {columns}; its header is: {header}.",
                CURE,
            )
        for row in reader:
            # csv keeps the cells without a column under the key None.
            if row.get(None):
                yield reader.line_num, ValueError("has more cells than the header")
            else:
                yield reader.line_num, row
    except csv.Error as error:
        yield reader.reader.line_num, ValueError(f"is not valid CSV: {error}")

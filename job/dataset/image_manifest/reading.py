"""From the bytes of a table to what each row says."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from job.dataset.image_manifest.columns import Columns, choose_columns
from job.dataset.image_manifest.decoding import decode_text
from job.dataset.image_manifest.delimited import read_delimited
from job.dataset.image_manifest.evidence import find_set_columns, read_split_flag
from job.dataset.image_manifest.json_lines import read_json_lines
from job.dataset.image_manifest.labels import (
    find_joined_labels,
    find_number_spellings,
    format_cell,
    is_missing_word,
    normalize_label,
    parse_label,
    parse_split,
)
from job.dataset.image_manifest.table import TableRow
from job.dataset.layout import Place
from job.dataset.names import first_names
from job.plurals import format_count
from job.settings import DatasetSettings, SplitName

JSON_SUFFIXES = (".jsonl", ".manifest")
FRACTION = re.compile(r"[+-]?\d*[.,]\d+(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRow:
    """What one row says.

    Attributes:
        line: where it begins in the file, from 1.
        names: how each of `ImageManifest.image_columns` names the image.
        place: its label, and its split and group if they are given.
        is_comment: whether it begins with `#`. Then it counts only if a file has such a name.
    """

    line: int
    names: tuple[str, ...]
    place: Place
    is_comment: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageManifest:
    """A table that was read, before its names are matched with files.

    Attributes:
        name: of the file.
        rows: those that can be used.
        problems: a description of every row that cannot be used, by its line.
        image_columns: the columns that may name the images, the most trusted one first.
        is_image_given: whether the first of them is neither guessed nor one of several.
        notes: what was guessed, one sentence each.
        missing_labels: how many rows have a word for a missing label.
    """

    name: str
    rows: tuple[ImageRow, ...]
    problems: tuple[str, ...]
    image_columns: tuple[str, ...]
    is_image_given: bool
    notes: tuple[str, ...]
    missing_labels: int


class _MissingLabel(ValueError):
    """The row says in a word that it has no label."""


def read(data: bytes, name: str, dataset: DatasetSettings) -> ImageManifest:
    """Read all rows and collect what is wrong with them.

    Raises:
        DatasetError: the table itself cannot be read: another encoding, or without its columns.
    """
    text = decode_text(data, name)
    is_json = name.lower().endswith(JSON_SUFFIXES)
    table = read_json_lines(text, name) if is_json else read_delimited(text, name, dataset)
    columns = choose_columns(table, dataset)

    rows = []
    problems = []
    missing = []
    for row in table.rows:
        try:
            rows.append(_parse_row(row, columns, keep_words=dataset.missing_label == "keep"))
        except ValueError as error:
            # What cannot be read as a row was meant as a comment.
            if row.is_comment:
                continue
            if isinstance(error, _MissingLabel):
                missing.append(row.line)
                if dataset.missing_label == "skip":
                    continue
            problems.append(f"line {row.line} {error}")

    notes = [*table.notes, *columns.notes]
    if missing and dataset.missing_label == "skip":
        left_out = format_count(
            len(missing), "row without a label was", "rows without a label were"
        )
        notes.append(f"{left_out} left out (line {missing[0]})")
    rows = _unify_numbers(rows, notes, are_numbers=table.has_number_labels)
    problems += _find_several_labels(rows)
    _note_fractions(rows, notes)
    return ImageManifest(
        name=name,
        rows=tuple(rows),
        problems=tuple(problems),
        image_columns=columns.images,
        is_image_given=columns.is_image_given or table.is_headless,
        notes=tuple(notes),
        missing_labels=len(missing),
    )


def _parse_row(row: TableRow, columns: Columns, *, keep_words: bool) -> ImageRow:
    """What a row says. Raises a ValueError that completes "line 3 …"."""
    if row.problem:
        raise ValueError(row.problem)
    names = []
    for column in columns.images:
        name = format_cell(row.cells.get(column))
        names.append("" if is_missing_word(name) else name)
    shown = next(filter(None, names), "")
    if not shown:
        raise ValueError("has no image")
    label = _parse_label(row, columns, shown)
    # A column of 0 and 1 that is called `None` is a class.
    if is_missing_word(label) and not keep_words and not columns.one_hot:
        raise _MissingLabel(f"has the label {label!r}, a word for no label ({shown})")
    group = _read_optional(row, columns.group)
    place = Place(
        label=normalize_label(label),
        split=_parse_split(row, columns),
        # One group of all images without a group would stay in one part of the split.
        group=None if is_missing_word(group) else group or None,
    )
    return ImageRow(line=row.line, names=tuple(names), place=place, is_comment=row.is_comment)


def _parse_split(row: TableRow, columns: Columns) -> SplitName | None:
    if columns.split_flag:
        return read_split_flag(columns.split_flag, row.cells.get(columns.split_flag))
    return parse_split(_read_optional(row, columns.split))


def _read_optional(row: TableRow, column: str) -> str:
    # Without such a column its name is empty, and a heading may be empty, too.
    return format_cell(row.cells.get(column)) if column else ""


def _parse_label(row: TableRow, columns: Columns, shown: str) -> str:
    if columns.one_hot:
        found = find_set_columns(row, columns.one_hot)
        if not found:
            raise _MissingLabel(f"has no label: no column is 1 ({shown})")
        if len(found) > 1:
            raise ValueError(f"has several labels: {', '.join(found)} are 1 ({shown})")
        return found[0]
    label = parse_label(row.cells.get(columns.label))
    if not label:
        raise _MissingLabel(f"has no label ({shown})")
    return label


def _find_several_labels(rows: Sequence[ImageRow]) -> list[str]:
    """A problem for each row whose label is several others of the table in one cell."""
    joined = find_joined_labels(row.place.label for row in rows)
    problems = []
    for row in rows:
        separator = joined.get(row.place.label)
        if separator and not row.is_comment:
            told = f"has {row.place.label!r}; expected one label, and not several with {separator}"
            problems.append(f"line {row.line} {told}")
    return problems


def _note_fractions(rows: Sequence[ImageRow], notes: list[str]) -> None:
    """Note that each number is a class of its own, if the labels are numbers with fractions."""
    labels = sorted({row.place.label for row in rows})
    fractions = [label for label in labels if FRACTION.fullmatch(label)]
    if fractions and len(fractions) == len(labels):
        notes.append(f"each number is a class of its own: {', '.join(first_names(fractions, 3))}")


def _unify_numbers(
    rows: Sequence[ImageRow], notes: list[str], *, are_numbers: bool
) -> list[ImageRow]:
    """The rows with one spelling of each whole number. Adds to the notes."""
    labels = [row.place.label for row in rows]
    spellings = find_number_spellings(labels, are_numbers=are_numbers)
    if spellings:
        first = min(spellings)
        notes.append(f"labels are whole numbers: {first} is {spellings[first]}")
    unified = []
    for row in rows:
        label = spellings.get(row.place.label, row.place.label)
        unified.append(replace(row, place=replace(row.place, label=label)))
    return unified

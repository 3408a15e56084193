"""Which column of a table is what: by the settings, else by the headings, else by the cells."""

from collections.abc import Sequence
from dataclasses import dataclass

from job.dataset.image_manifest import headings
from job.dataset.image_manifest.evidence import (
    divide_alike,
    find_one_hot_columns,
    find_split_flag,
    holds_split_words,
)
from job.dataset.image_manifest.headings import simplify_heading
from job.dataset.image_manifest.table import Table
from job.errors import DatasetError
from job.settings import DatasetSettings

IMAGE_SETTING = "GRAFT_DATASET_IMAGE_COLUMN"
LABEL_SETTING = "GRAFT_DATASET_LABEL_COLUMN"
CURE = (
    "Each row needs an image (a path relative to the manifest's folder) and a label; "
    f"split and group are optional. {IMAGE_SETTING} and {LABEL_SETTING} "
    "name columns with other headings."
)
MISSING_LABEL_CURE = (
    "GRAFT_DATASET_MISSING_LABEL=skip leaves rows without a label out, and keep makes classes of "
    "words such as None."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns of a table by what they hold.

    Attributes:
        images: those that may name the images, the most trusted one first. The files decide.
        is_image_given: whether the image's column is neither guessed nor one of several.
        label: empty where `one_hot` says the label.
        one_hot: columns that are called like the classes.
        split: empty if there is none.
        split_flag: a column that says whether an image is in a part. Empty if there is none.
        group: empty if there is none.
        notes: what was guessed.
    """

    images: tuple[str, ...]
    is_image_given: bool
    label: str
    one_hot: tuple[str, ...]
    split: str
    split_flag: str
    group: str
    notes: tuple[str, ...]


def choose_columns(table: Table, dataset: DatasetSettings) -> Columns:
    """Find out what each column is.

    Raises:
        DatasetError: there is no column for the image or for the label, or several that differ.
    """
    notes: list[str] = []
    given_image = _find_given(table, dataset.image_column, IMAGE_SETTING)
    given_label = _find_given(table, dataset.label_column, LABEL_SETTING)
    images = [given_image] if given_image else _find_images(table)
    label = given_label or _find_label(table, notes)
    one_hot = () if label else _find_one_hot(table, notes)
    missing = []
    if not images:
        missing.append("image")
    if not label and not one_hot:
        missing.append("label")
    # A file of no JSON object has no keys either: its lines are the problem.
    if missing and not table.header and table.rows:
        images, label = ["image"], "label"
    elif missing:
        columns = " and no column ".join(missing)
        raise DatasetError(
            f"{table.name} has no column {columns}; its header is: {_show_header(table)}.", CURE
        )
    groups = _find_all(table, (headings.GROUP_HEADING,))
    split = _find_split(table, notes)
    split_flag = "" if split or one_hot else find_split_flag(table)
    if split_flag:
        notes.append(f"the split is the column {split_flag!r}, which says yes or no")
    return Columns(
        images=tuple(images),
        is_image_given=bool(given_image) or images == _find_all(table, ("image",)),
        label=label,
        one_hot=one_hot,
        split=split,
        split_flag=split_flag,
        group=groups[0] if groups else "",
        notes=tuple(notes),
    )


def _show_header(table: Table) -> str:
    return ", ".join(table.header)[:80] or "nothing"


def _find_all(table: Table, known: Sequence[str]) -> list[str]:
    """The columns with one of these headings, in the order of the headings.

    Raises:
        DatasetError: two columns have the same heading.
    """
    found = []
    for heading in known:
        columns = [column for column in table.header if simplify_heading(column) == heading]
        if len(columns) > 1:
            raise DatasetError(
                f"{table.name} has {len(columns)} columns for one thing: {', '.join(columns)}.",
                "Give each column a name of its own.",
            )
        found += columns
    return found


def _find_given(table: Table, column: str, setting: str) -> str:
    """The column that a setting names, exactly or in another case. Empty if it names none."""
    # Without headings the settings give places, which were looked at before.
    if not column or (table.is_headless and column.isdecimal()):
        return ""
    for spell in (str.strip, str.casefold, simplify_heading):
        found = [heading for heading in table.header if spell(heading) == spell(column)]
        if len(found) == 1:
            return found[0]
    problem = "several columns" if found else "no column"
    raise DatasetError(
        f"{table.name} has {problem} {column}; its header is: {_show_header(table)}.",
        f"Set {setting} to one of these columns.",
    )


def _find_images(table: Table) -> list[str]:
    # The documented name needs no second guess.
    return _find_all(table, ("image",)) or _find_all(table, headings.IMAGE_HEADINGS)


def _find_label(table: Table, notes: list[str]) -> str:
    """The one column that says the label, empty if none does. Adds to the notes."""
    if certain := _find_all(table, ("label",)):
        return certain[0]
    candidates = list(
        dict.fromkeys((*table.label_columns, *_find_all(table, headings.LABEL_HEADINGS)))
    )
    if not candidates:
        return ""
    chosen = candidates[0]
    if len(candidates) > 1 and not divide_alike(table, candidates):
        raise DatasetError(
            f"{table.name} has several columns that may be the label, and they differ: "
            f"{', '.join(candidates)}.",
            f"Set {LABEL_SETTING} to one of them.",
        )
    notes.append(f"the label is the column {chosen!r}")
    return chosen


def _find_one_hot(table: Table, notes: list[str]) -> tuple[str, ...]:
    one_hot = find_one_hot_columns(table)
    if one_hot:
        notes.append(f"the label is the one column of each row that is 1: {', '.join(one_hot)}")
    return one_hot


def _find_split(table: Table, notes: list[str]) -> str:
    if certain := _find_all(table, ("split",)):
        return certain[0]
    for column in _find_all(table, headings.SPLIT_HEADINGS):
        # Such headings have other meanings, too.
        if holds_split_words(table, column):
            notes.append(f"the split is the column {column!r}")
            return column
    return ""

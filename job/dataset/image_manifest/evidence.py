"""What the cells of a table say about its columns."""

import re
from collections.abc import Sequence
from typing import Any

from job.dataset.image_manifest.headings import ALL_HEADINGS, simplify_heading
from job.dataset.image_manifest.labels import SPLIT_WORDS, format_cell, is_split_word
from job.dataset.image_manifest.table import Table, TableRow
from job.settings import SplitName

# Cells of a column that is called like a class: whether it is the class of the image.
ONE_HOT_CELLS = {
    **dict.fromkeys(("1", "1.0", "true", "yes", "y", "x"), True),
    **dict.fromkeys(("0", "0.0", "false", "no", "n", ""), False),
}
# `is_train` says the part of the split, and is no class.
SPLIT_FLAG = re.compile(f"(is|in)?({'|'.join(SPLIT_WORDS)})(set)?")


def divide_alike(table: Table, columns: Sequence[str]) -> bool:
    """Whether the columns divide the rows in the same way, such as a name and a number each."""
    first, *others = columns
    for other in others:
        pairs = {(_read_cell(row, first), _read_cell(row, other)) for row in table.readable_rows}
        firsts = {pair[0] for pair in pairs}
        seconds = {pair[1] for pair in pairs}
        if not len(pairs) == len(firsts) == len(seconds):
            return False
    return True


def holds_split_words(table: Table, column: str) -> bool:
    """Whether all cells say a part of the split, and not all of them nothing."""
    cells = {_read_cell(row, column) for row in table.readable_rows}
    return cells != {""} and all(map(is_split_word, cells))


def find_split_flag(table: Table) -> str:
    """The one column whose heading and cells say whether an image is in a part, such as `is_valid`.

    Empty if there is none, or several.
    """
    found = []
    for column in table.header:
        cells = {_read_cell(row, column).lower() for row in table.readable_rows}
        is_flag = SPLIT_FLAG.fullmatch(simplify_heading(column)) is not None
        if is_flag and {ONE_HOT_CELLS.get(cell) for cell in cells - {""}} == {True, False}:
            found.append(column)
    return found[0] if len(found) == 1 else ""


def read_split_flag(column: str, cell: Any) -> SplitName | None:
    """The part that a cell of such a column means. What is not in train is test."""
    found = SPLIT_FLAG.fullmatch(simplify_heading(column))
    part = SPLIT_WORDS[found[2]] if found else None
    is_set = ONE_HOT_CELLS[format_cell(cell).lower()]
    return part if is_set else "test" if part == "train" else "train"


def find_one_hot_columns(table: Table) -> tuple[str, ...]:
    """The columns of 0 and 1 of which most rows have one 1, or none."""
    columns = []
    for column in table.header:
        heading = simplify_heading(column)
        if not heading or heading in ALL_HEADINGS or SPLIT_FLAG.fullmatch(heading):
            continue
        cells = {_read_cell(row, column).lower() for row in table.readable_rows}
        if cells - {""} and cells <= ONE_HOT_CELLS.keys():
            columns.append(column)
    singles = 0
    for row in table.readable_rows:
        singles += len(find_set_columns(row, columns)) == 1
    is_usual = len(columns) > 1 and singles * 2 >= len(table.readable_rows)
    return tuple(columns) if is_usual else ()


def find_set_columns(row: TableRow, columns: Sequence[str]) -> list[str]:
    """The one-hot columns that are 1."""
    return [column for column in columns if ONE_HOT_CELLS.get(_read_cell(row, column).lower())]


def _read_cell(row: TableRow, column: str) -> str:
    """The text of a cell, for comparison: what is not one value is its description."""
    value = row.cells.get(column)
    try:
        return format_cell(value)
    except ValueError as error:
        return str(error)

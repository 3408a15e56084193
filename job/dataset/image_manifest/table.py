"""What all kinds of tables become: rows of named cells."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One row: text or JSON values by column.

    Attributes:
        line: where it begins in the file, from 1.
        cells: by column. Empty where the row has a problem, or the first one alone.
        problem: completes "line 3 …". Empty for a row that can be read.
        is_comment: whether it begins with `#`.
        is_longer: whether it has more cells than there are columns.
    """

    line: int
    cells: Mapping[str, Any]
    problem: str = ""
    is_comment: bool = False
    is_longer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows and the names of their columns.

    Attributes:
        name: of the file, for messages.
        header: the columns in the order of the file.
        rows: without blank rows.
        notes: what was guessed, one sentence each.
        label_columns: columns that hold labels whatever their names, as the tool's format says.
        is_headless: whether the file does not name its columns.
        has_number_labels: whether the format has numbers as labels, such as `1.000000`.
    """

    name: str
    header: tuple[str, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...] = ()
    label_columns: tuple[str, ...] = ()
    is_headless: bool = False
    has_number_labels: bool = False

    @property
    def readable_rows(self) -> list[TableRow]:
        """The rows that are evidence of what the columns are."""
        return [row for row in self.rows if not row.problem and not row.is_comment]

"""Tables of text: CSV with any separator, as spreadsheets and tools write it.

`csv.Sniffer` of the standard library guesses from all the text, and is wrong for one column and for
quoted cells. Here the heading line decides: the separator is the one that gives known headings.
"""

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from job.dataset.image_manifest import headings, headless
from job.dataset.image_manifest.table import Table, TableRow
from job.settings import DatasetSettings

# Within a heading, too, so it separates only headings that are all known.
BLANK = " "
# The first one wins where several do as well.
SEPARATORS = {
    ",": "commas",
    ";": "semicolons",
    "\t": "tabs",
    "|": "vertical bars",
    BLANK: "blanks",
}
# So many lines of a title may be above the heading.
MOST_TITLE_LINES = 5
LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
# Excel's own line above the heading, in quotes if it was saved again.
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE | re.DOTALL)


class _Spreadsheet(csv.excel):
    strict = True
    # A blank after the separator belongs to no cell: `a.jpg, "cat, big"`.
    skipinitialspace = True


@dataclass(frozen=True, slots=True)
class _Beginning:
    """How a table begins.

    `heading` is its first line that is neither blank nor a comment, and `title` what is above it.
    """

    heading: str
    line: int
    offset: int
    separator: str | None
    title: str = ""


def read_delimited(text: str, name: str, dataset: DatasetSettings) -> Table:
    """Read all rows under the headings, or under those that its format would have.

    Raises:
        DatasetError: the table has no heading line, and is not of a kind that never has one.
    """
    known = set(headings.ALL_HEADINGS)
    for column in (dataset.image_column, dataset.label_column):
        known.add(headings.simplify_heading(column))
    known.discard("")

    beginning = _find_beginning(text, known)
    separators = [beginning.separator] if beginning.separator else list(SEPARATORS)
    split_headings = {}
    for separator in separators:
        split_headings[separator] = _split_line(beginning.heading, separator)
    if _count_known(split_headings.get(BLANK, ()), known) < len(split_headings.get(BLANK, ())):
        separators.remove(BLANK)
    separator = max(separators, key=lambda given: _rate_heading(split_headings[given], known))
    heading = split_headings[separator]

    notes = []
    body = text[beginning.offset :]
    header = tuple(cell.strip() for cell in heading)
    first_line = beginning.line
    shape = headless.recognize(name, split_headings, dataset)
    if shape:
        separator, header = shape.separator, shape.header
        notes.append(shape.note)
    else:
        body = body[len(beginning.heading) :]
        first_line += 1
    if separator != "," and not shape and not beginning.separator:
        notes.append(f"the cells are separated by {SEPARATORS[separator]}")
    if beginning.title:
        notes.append(f"the heading is line {beginning.line}: {beginning.title} is above it")
    rows = tuple(_read_rows(body, separator, header, first_line))
    if not shape and _are_numbered(rows, header):
        header = ("", *header)
        rows = tuple(_read_rows(body, separator, header, first_line))
        notes.append("the first column has no heading and numbers the rows")
    return Table(
        name=name,
        header=header,
        rows=rows,
        notes=tuple(notes),
        is_headless=bool(shape),
        has_number_labels=bool(shape and shape.has_number_labels),
    )


def _find_beginning(text: str, known: Collection[str]) -> _Beginning:
    """Pass over blank lines, comments, `sep=;` and a title, up to the heading."""
    offset = 0
    separator = None
    line = 0
    first: _Beginning | None = None
    num_titles = 0
    for match in LINE.finditer(text):
        line += 1
        offset = match.start()
        content = match.group()
        if found := SEPARATOR_LINE.fullmatch(content):
            separator = found[1]
            continue
        if content.strip(" \t\r\n,;|"):
            is_comment = content.lstrip(' "').startswith("#")
            if not is_comment:
                found_here = _Beginning(content, line, offset, separator)
                is_heading = _is_heading(content, known)
                if first is None and (is_heading or not _may_be_title(content, known)):
                    return found_here
                if is_heading and first is not None:
                    return replace(found_here, title=first.heading.strip())
                first = first or found_here
                num_titles += 1
                if num_titles > MOST_TITLE_LINES:
                    return first
                continue
            # Some tools write the heading itself as a comment.
            if _is_heading(content, known):
                start = content.index("#") + 1
                return _Beginning(content[start:], line, offset + start, separator)
    return first or _Beginning("", line, offset, separator)


def _may_be_title(content: str, known: Collection[str]) -> bool:
    """Whether a line is neither part of a heading nor a row of a table without one."""
    for separator in SEPARATORS:
        cells = _split_line(content, separator)
        is_heading = separator != BLANK and _count_known(cells, known)
        if is_heading or any(map(headings.looks_like_image, cells)):
            return False
    return True


def _is_heading(comment: str, known: Collection[str]) -> bool:
    content = comment.lstrip(' "').removeprefix("#")
    separators = [given for given in SEPARATORS if given != BLANK]
    return any(_count_known(_split_line(content, given), known) > 1 for given in separators)


def _split_line(line: str, separator: str) -> list[str]:
    """The cells of one line. Empty where it cannot be divided."""
    try:
        return next(csv.reader([line], _Spreadsheet, delimiter=separator), [])
    except csv.Error:
        return []


def _count_known(cells: Sequence[str], known: Collection[str]) -> int:
    return sum(headings.simplify_heading(cell) in known for cell in cells)


def _rate_heading(cells: Sequence[str], known: Collection[str]) -> tuple[int, int]:
    return _count_known(cells, known), len(cells)


def _read_rows(
    text: str, separator: str, header: Sequence[str], first_line: int
) -> Iterator[TableRow]:
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, _Spreadsheet, delimiter=separator)
    line = first_line
    try:
        for cells in reader:
            # Tables that were put together repeat their heading, and the mark before it.
            is_heading = [cell.strip("\ufeff \t") for cell in cells] == list(header)
            if any(cell.strip() for cell in cells) and not is_heading:
                yield _make_row(cells, header, line)
            line = first_line + reader.line_num
    except csv.Error as error:
        yield TableRow(line=line, cells={}, problem=f"is not valid CSV: {error}")


def _are_numbered(rows: Sequence[TableRow], header: Sequence[str]) -> bool:
    """Whether each row has a number in front that has no heading, as R writes it."""
    first_cells = []
    for row in rows:
        if not row.is_comment:
            first_cells.append(row.cells.get(header[0], "") if row.is_longer else "")
    return bool(first_cells) and all(cell.strip().isdecimal() for cell in first_cells)


def _make_row(cells: Sequence[str], header: Sequence[str], line: int) -> TableRow:
    is_comment = cells[0].lstrip().startswith("#")
    first = {header[0]: cells[0]} if header else {}
    # Spreadsheets fill short rows with empty cells.
    if any(cell.strip() for cell in cells[len(header) :]):
        return TableRow(
            line=line,
            cells=first,
            problem="has more cells than the header",
            is_comment=is_comment,
            is_longer=True,
        )
    named: dict[str, str] = {}
    for column, cell in zip(header, cells, strict=False):
        named.setdefault(column, cell)
    return TableRow(line=line, cells=named, is_comment=is_comment)

"""Tables of JSON: one object per line, as tools for labelling and training write it."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from job.dataset.image_manifest import tool_shapes
from job.dataset.image_manifest.table import Table, TableRow


def read_json_lines(text: str, name: str) -> Table:
    """Read all rows. Their columns are the keys of all objects."""
    rows, found = tool_shapes.flatten(_read_rows(text))
    header: dict[str, None] = {}
    for row in rows:
        header.update(dict.fromkeys(row.cells))
    return Table(
        name=name,
        header=tuple(header),
        rows=tuple(rows),
        notes=found.notes,
        label_columns=found.label_columns,
    )


def _read_rows(text: str) -> Iterator[TableRow]:
    # Not `splitlines`, which also splits at characters that JSON strings may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        repeated: list[str] = []
        try:
            row = json.loads(line, object_pairs_hook=partial(_collect_pairs, repeated))
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            cells = {key.strip(): value for key, value in row.items()}
            problem = f"has the name {repeated[0]!r} twice" if repeated else ""
            yield TableRow(line=number, cells={} if problem else cells, problem=problem)
        else:
            is_comment = line.lstrip().startswith("#")
            yield TableRow(
                line=number, cells={}, problem="is not a JSON object", is_comment=is_comment
            )


def _collect_pairs(repeated: list[str], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of the pairs. Names that occur twice in it are added to `repeated`."""
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            repeated.append(name)
        fields[name] = value
    return fields

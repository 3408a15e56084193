"""`docs/results.md` from `docs/results.json`."""

from collections.abc import Mapping
from typing import Any

from tools.bench.curve_rendering import render_section
from tools.bench.curves import ANYTIME
from tools.tables import format_table

HEAD = """\
# Results

Written by `make bench` from [results.json](results.json). Do not edit it by hand:
`python -m tools.bench.bench --render` writes it again.

Both sides of a row were measured in turns. Seconds are medians over the turns. The ratio is the
median of the ratios of the turns, with a 95 % bootstrap interval. `÷` says which way it goes. "By
CPU" is the same ratio in seconds of CPU, which other work on the machine disturbs less. A dash says
that it is too short to be measured, or that no bound was set.
"""
COLUMNS = (
    "measure", "rival", "ours, s", "rival, s", "ratio", "95 %", "by CPU", "floor", "goal", "met",
)  # fmt: skip
# From this load per core on, other work had a share of the machine that changes figures.
BUSY = 0.3
SAME = "same"
RELY = "Seconds are longer than on an idle machine. Rely on ratios."
MEANING = "Differences of that size in seconds mean nothing in this table."


def render(results: Mapping[str, Any]) -> str:
    """The page, from the content of the file."""
    rows = results["rows"]
    lines = [HEAD, _describe_machine(results["machine"]), ""]
    lines += _warn_of_load(results)
    lines += [
        format_table(COLUMNS, map(_list_cells, rows)),
        "",
        render_section(results.get(ANYTIME)),
        "## Rows",
        "",
    ]
    lines += [_describe_row(row) for row in rows]
    return "\n".join(lines) + "\n"


def _describe_machine(machine: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    flags = ", ".join(machine["flags"])
    return (
        f"Machine: {machine['cores']} cores ({machine['cpu'] or 'unknown'}), "
        f"{machine['memory_gib']} GiB of memory. Versions: {versions}. Instructions: {flags}."
    )


def _warn_of_load(results: Mapping[str, Any]) -> list[str]:
    """What makes the figures less certain than they look."""
    lines = []
    loads = [row["load"] for row in results["rows"]]
    if loads and max(loads) > BUSY * results["machine"]["cores"]:
        between = f"{min(loads)} and {max(loads)}"
        lines += [f"**Measured under load**: it was between {between} when a row began. {RELY}", ""]
    for row in results["rows"]:
        if row["name"] == SAME and row["met"] == "missed":
            reads = f"{row['ratio']:.2f}** instead of 1.00 ± {row['floor']:.2f}"
            lines += [f"**The same work beside itself reads {reads}. {MEANING}", ""]
    return lines


def _list_cells(row: Mapping[str, Any]) -> list[str]:
    way = "rival ÷ ours" if row["better"] == "higher" else "ours ÷ rival"
    return [
        f"{row['ours']} (`{row['name']}`)",
        row["rival"],
        f"{row['ours_seconds']:.3g}",
        f"{row['rival_seconds']:.3g}",
        f"**{row['ratio']:.3g}** {way}",
        f"{row['low']:.3g} to {row['high']:.3g}",
        _format_number(row["cpu_ratio"]),
        _format_bound(row, "floor"),
        _format_bound(row, "goal"),
        row["met"] or "-",
    ]


def _describe_row(row: Mapping[str, Any]) -> str:
    notes = "".join(f", {name} {value:g}" for name, value in row["notes"].items())
    return (
        f"- `{row['name']}`: {row['turns']} turns, profile {row['profile']}, "
        f"{row['measured']}, load {row['load']}{notes}."
    )


def _format_bound(row: Mapping[str, Any], name: str) -> str:
    if row["better"] == "equal":
        return f"1 ± {row['floor']}" if name == "floor" else "-"
    return _format_number(row[name])


def _format_number(number: float | None) -> str:
    return "-" if number is None else f"{number:.4g}"

"""`make bench`: what Graft costs beside its rivals, in `docs/results.json` and `.md`.

    python -m tools.bench.bench                      # everything: over an hour on two cores
    python -m tools.bench.bench --quick              # less data and fewer turns: about 25 minutes
    python -m tools.bench.bench --rows same,settings-error    # these rows anew, the others stay
    python -m tools.bench.bench --rows anytime       # accuracy over seconds: see anytime.py
    python -m tools.bench.bench --render             # the page alone, from the JSON

Both sides of a row follow each other in turns. So they share whatever else the machine is doing,
and ratios are what to rely on. Each row is in both files as soon as it is measured, and one that
fails does not keep the others from it.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.bench import anytime
from tools.bench.curve_rendering import CHART, render_chart
from tools.bench.curves import ANYTIME
from tools.bench.measuring import Measure, Sample, Sides, Workplace
from tools.bench.rendering import render
from tools.bench.results import describe_machine, make_row, merge_rows
from tools.bench.rows import MEASURES
from tools.paths import ROOT

RESULTS = ROOT / "docs" / "results.json"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure rows, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less data and fewer turns")
    parser.add_argument("--rows", help="the names of the rows, with commas between them")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file")
    parser.add_argument("--render", action="store_true", help="only write the page")
    anytime.add_options(parser)
    options = parser.parse_args(arguments)
    found = json.loads(options.out.read_text()) if options.out.exists() else None
    if options.render:
        if found is None:
            raise SystemExit(f"{options.out} does not exist. Measure something first.")
        _write_results(options.out, found)
        return
    names = _choose_names(options.rows)
    # All rows are a table of their own. Some of them join those of this machine.
    found = merge_rows(found if options.rows else None, describe_machine(), ())
    failed = _measure_all(names, options, found)
    if failed:
        raise SystemExit(f"Not measured, for the reasons above: {', '.join(failed)}.")


def _measure_all(
    names: Sequence[str], options: argparse.Namespace, found: dict[str, Any]
) -> list[str]:
    """Measure rows and write each one when it is done. Returns the names of those that failed."""
    failed = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="graft-bench-")))
        for name in names:
            own = folder / name
            own.mkdir()
            began = time.monotonic()
            try:
                found = _add_measured(name, Workplace(own, options.quick, stack), options, found)
            except (Exception, SystemExit):  # noqa: BLE001 - the other rows are still worth it
                traceback.print_exc()
                failed.append(name)
                continue
            print(f"{name}: in {time.monotonic() - began:.0f} s", file=sys.stderr)
            _write_results(options.out, found)
    return failed


def _add_measured(
    name: str, place: Workplace, options: argparse.Namespace, found: dict[str, Any]
) -> dict[str, Any]:
    """Measure what has this name, and put it into what was measured before."""
    if name == ANYTIME:
        return {**found, name: anytime.measure(place, anytime.read_options(options))}
    (measure,) = (measure for measure in MEASURES if measure.name == name)
    row = measure_row(measure, place)
    print(f"{name}: {row['ratio']:.3g}", file=sys.stderr)
    return merge_rows(found, found["machine"], [row])


def measure_row(measure: Measure, place: Workplace) -> dict[str, Any]:
    """Measure one row in turns, and return it as it is in the file.

    Which side begins changes from turn to turn, since what follows something may find its files in
    memory or the machine busy with what it has left.
    """
    load = os.getloadavg()[0]
    sides = measure.prepare(place)
    turns = [_take_turn(sides, turn) for turn in range(measure.turns[not place.quick])]
    return make_row(measure, turns, sides.notes, "quick" if place.quick else "full", load)


def _take_turn(sides: Sides, turn: int) -> tuple[Sample, Sample]:
    """Measure both sides once: (ours, rival)."""
    if turn % 2:
        rival = sides.rival()
        return sides.ours(), rival
    ours = sides.ours()
    return ours, sides.rival()


def _write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write the JSON, and the page and its chart beside it."""
    path.write_text(json.dumps(results, indent=2) + "\n")
    path.with_suffix(".md").write_text(render(results))
    if ANYTIME in results:
        path.with_name(CHART).write_text(render_chart(results[ANYTIME]))


def _choose_names(names: str | None) -> list[str]:
    known = [*(measure.name for measure in MEASURES), ANYTIME]
    if names is None:
        return known
    chosen = names.split(",")
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise SystemExit(f"No row is named {unknown[0]!r}. Expected some of {', '.join(known)}.")
    return chosen


if __name__ == "__main__":
    main()

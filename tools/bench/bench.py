"""`make bench`: one table of what Graft costs beside its rivals, in `docs/results.json` and `.md`.

    python -m tools.bench.bench                      # everything: about an hour on two cores
    python -m tools.bench.bench --quick              # less data and fewer turns: some minutes
    python -m tools.bench.bench --rows same,settings-error    # these rows anew, the others stay
    python -m tools.bench.bench --render             # the page alone, from the JSON

The rows take turns, and both sides of a row follow each other. So all of them share whatever else
the machine is doing, and ratios are what to rely on.
"""

import argparse
import contextlib
import functools
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.bench import decoding, starting, training
from tools.bench.measuring import Measure, Sample, Sides, Workplace
from tools.bench.rendering import render
from tools.bench.results import describe_machine, make_row, merge_rows
from tools.paths import ROOT

RESULTS = ROOT / "docs" / "results.json"
BARE = "`tf.io.decode_jpeg` of the same JPEGs on two threads"

MEASURES = (
    Measure(
        name="same",
        ours="bare decoding",
        rival="itself",
        better="equal",
        prepare=decoding.prepare_same,
        turns=(7, 21),
        floor=0.03,
    ),
    Measure(
        name="settings-error",
        ours="a settings error, `exec` to exit",
        rival="`python -c pass`",
        better="lower",
        prepare=starting.prepare_settings_error,
        turns=(5, 15),
    ),
    Measure(
        name="first-step",
        ours="`graft run`, `exec` to its first batch of features, images audited before",
        rival="`import tensorflow`",
        better="lower",
        prepare=starting.prepare_first_step,
        turns=(3, 9),
        floor=1.3,
        goal=1.15,
    ),
    Measure(
        name="model",
        ours="`graft run` in mode none without any cache, to its release in one format",
        rival="the Keras guide, 2 + 1 epochs, to `model.keras`",
        better="higher",
        prepare=starting.prepare_model,
        turns=(2, 5),
        floor=1.0,
        goal=2.0,
    ),
    Measure(
        name="frozen-stage",
        ours="decode, features and solved head",
        rival="the Keras guide's Dense on the frozen backbone, 20 epochs, pixels ready",
        better="higher",
        prepare=training.prepare_frozen_stage,
        turns=(2, 5),
        floor=10.0,
        goal=18.0,
    ),
    Measure(
        name="kept-epoch",
        ours="epoch of `part` over kept activations, gradients alone",
        rival="the same with the frozen layers live",
        better="higher",
        prepare=training.prepare_kept_epoch,
        turns=(5, 15),
    ),
    Measure(
        name="decode-none",
        ours="decode, resize and batch without augmentation",
        rival=BARE,
        better="higher",
        prepare=functools.partial(decoding.prepare_decoding, augmentation="none"),
        turns=(5, 15),
        floor=0.9,
        goal=1.0,
    ),
    Measure(
        name="decode-light",
        ours="decode, resize and batch with `light`",
        rival=BARE,
        better="higher",
        prepare=functools.partial(decoding.prepare_decoding, augmentation="light"),
        turns=(5, 15),
        floor=0.9,
        goal=1.0,
    ),
    Measure(
        name="watched-step",
        ours="epochs of `all` with metrics, and the share of a checkpoint every 300 s",
        rival="the same without",
        better="lower",
        prepare=training.prepare_watched_step,
        turns=(5, 15),
        floor=1.02,
        goal=1.005,
    ),
    Measure(
        name="checkpoint",
        ours="300 s of training, and the largest checkpoint",
        rival="300 s of training",
        better="lower",
        prepare=training.prepare_checkpoint,
        turns=(5, 15),
        floor=1.02,
        goal=1.005,
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure rows, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less data and fewer turns")
    parser.add_argument("--rows", help="the names of the rows, with commas between them")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file")
    parser.add_argument("--render", action="store_true", help="only write the page")
    options = parser.parse_args(arguments)
    found = json.loads(options.out.read_text()) if options.out.exists() else None
    if not options.render:
        measures = _choose_measures(options.rows)
        before = found if options.rows else None  # all rows are a table of their own
        # Refuses another machine before any time is spent on it.
        merge_rows(before, describe_machine(), ())
        rows = measure_rows(measures, quick=options.quick)
        found = merge_rows(before, describe_machine(), rows)
        options.out.write_text(json.dumps(found, indent=2) + "\n")
    if found is None:
        raise SystemExit(f"{options.out} does not exist. Measure something first.")
    page = options.out.with_suffix(".md")
    page.write_text(render(found))
    print(page.read_text())


def measure_rows(measures: Sequence[Measure], *, quick: bool) -> list[dict[str, Any]]:
    """Measure rows in turns, and return them as they are in the file.

    Which side begins changes from turn to turn, since what follows something may find its files in
    memory or the machine busy with what it has left.
    """
    turns: dict[str, list[tuple[Sample, Sample]]] = {measure.name: [] for measure in measures}
    sides: dict[str, Sides] = {}
    loads: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="graft-bench-")))
        for measure in measures:
            own = folder / measure.name
            own.mkdir()
            loads[measure.name] = os.getloadavg()[0]
            sides[measure.name] = measure.prepare(Workplace(own, quick, stack))
        for turn in range(max(measure.turns[not quick] for measure in measures)):
            for measure in measures:
                if turn < measure.turns[not quick]:
                    turns[measure.name].append(_take_turn(sides[measure.name], turn))
    profile = "quick" if quick else "full"
    rows = []
    for measure in measures:
        name = measure.name
        rows.append(make_row(measure, turns[name], sides[name].notes, profile, loads[name]))
    return rows


def _take_turn(sides: Sides, turn: int) -> tuple[Sample, Sample]:
    """Measure both sides once: (ours, rival)."""
    if turn % 2:
        rival = sides.rival()
        return sides.ours(), rival
    ours = sides.ours()
    return ours, sides.rival()


def _choose_measures(names: str | None) -> list[Measure]:
    if names is None:
        return list(MEASURES)
    known = {measure.name: measure for measure in MEASURES}
    chosen = names.split(",")
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise SystemExit(f"No row is named {unknown[0]!r}. Expected some of {', '.join(known)}.")
    return [known[name] for name in chosen]


if __name__ == "__main__":
    main()

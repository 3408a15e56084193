"""`make bench`: one table of what Graft costs beside its rivals, in `docs/results.json` and `.md`.

    python -m tools.bench.bench                      # everything: about an hour on two cores
    python -m tools.bench.bench --quick              # less data and fewer turns: about 20 minutes
    python -m tools.bench.bench --rows same,settings-error    # these rows anew, the others stay
    python -m tools.bench.bench --render             # the page alone, from the JSON

Both sides of a row follow each other in turns. So they share whatever else the machine is doing,
and ratios are what to rely on. Each row is in both files as soon as it is measured, and one that
fails does not keep the others from it.
"""

import argparse
import contextlib
import functools
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.bench import decoding, nights, pull, starting, training
from tools.bench.measuring import Measure, Sample, Sides, Workplace
from tools.bench.rendering import render
from tools.bench.results import describe_machine, make_row, merge_rows
from tools.paths import ROOT

RESULTS = ROOT / "docs" / "results.json"
BARE = "`tf.io.decode_jpeg` of the same JPEGs on two threads"
FIRST_RUN = "the first `graft run` on the same images, measured once"

MEASURES = (
    # The pulls come before TensorFlow is imported here, as they do in a run.
    Measure(
        name="pull-small",
        ours="pull of objects of 100 KB, verified, hashed and kept",
        rival="s5cmd, which verifies nothing",
        better="higher",
        prepare=pull.prepare_small,
        turns=(3, 9),
        floor=1.0,
        goal=1.5,
    ),
    Measure(
        name="pull-large",
        ours="pull of objects of 64 MB, verified",
        rival="s5cmd, which verifies nothing",
        better="higher",
        prepare=pull.prepare_large,
        turns=(3, 9),
        floor=1.0,
        goal=1.2,
    ),
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
        ours="`graft run` in mode none without any cache, to its release as SavedModel",
        rival="the Keras guide, 2 + 1 epochs, to `model.keras`",
        better="higher",
        prepare=starting.prepare_model,
        turns=(2, 5),
        floor=1.0,
        goal=2.0,
    ),
    Measure(
        name="whole-guide",
        ours="`graft run` in mode none without any cache, to its release as SavedModel",
        rival="the Keras guide, 20 + 10 epochs, to `model.keras`, 2 + 2 of them run and the others "
        "extrapolated",
        better="higher",
        prepare=starting.prepare_whole_guide,
        turns=(1, 1),
        floor=3.0,
        goal=10.0,
    ),
    Measure(
        name="frozen-stage",
        ours="decode, features and solved head",
        rival="the Keras guide's Dense on the frozen backbone, 20 epochs, pixels ready",
        better="higher",
        prepare=training.prepare_frozen_stage,
        turns=(2, 3),
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
        ours="decode, resize and batch without augmentation, first epoch",
        rival=BARE,
        better="higher",
        prepare=functools.partial(decoding.prepare_decoding, augmentation="none"),
        turns=(5, 15),
        floor=0.9,
        goal=1.0,
    ),
    Measure(
        name="decode-light",
        ours="decode, resize and batch with `light`, first epoch",
        rival=BARE,
        better="higher",
        prepare=functools.partial(decoding.prepare_decoding, augmentation="light"),
        turns=(5, 15),
        floor=0.9,
        goal=1.0,
    ),
    Measure(
        name="later-none",
        ours="batches without augmentation after the first epoch, of pixels that were kept",
        rival=BARE,
        better="higher",
        prepare=functools.partial(decoding.prepare_decoding, augmentation="none", kept=True),
        turns=(5, 15),
        floor=0.9,
        goal=10.0,
    ),
    Measure(
        name="later-light",
        ours="batches with `light` after the first epoch, of pixels that were kept",
        rival=BARE,
        better="higher",
        prepare=functools.partial(decoding.prepare_decoding, augmentation="light", kept=True),
        turns=(5, 15),
        floor=0.9,
        goal=10.0,
    ),
    Measure(
        name="watched-step",
        ours="epochs of `all` with metrics, and the share of a checkpoint every 300 s",
        rival="the same without",
        better="lower",
        prepare=training.prepare_watched_step,
        turns=(4, 15),
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
    Measure(
        name="night-unchanged",
        ours="`graft run` from S3 in mode none, with nothing new",
        rival=FIRST_RUN,
        better="lower",
        prepare=nights.prepare_unchanged,
        turns=(3, 9),
        floor=0.1,
        goal=0.01,
    ),
    Measure(
        name="night-new",
        ours="`graft run` from S3 in mode none, with 1 % new images",
        rival=FIRST_RUN,
        better="lower",
        prepare=nights.prepare_new,
        turns=(1, 3),
        floor=0.15,
        goal=0.05,
    ),
    Measure(
        name="export",
        ours="the phase `export`, SavedModel and `.keras`",
        rival=FIRST_RUN,
        better="lower",
        prepare=nights.prepare_export,
        turns=(1, 1),
    ),
    Measure(
        name="overlap",
        ours="pull and everything after it",
        rival="the longer one of both",
        better="lower",
        prepare=nights.prepare_overlap,
        turns=(1, 1),
        floor=1.15,
        goal=1.03,
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
    if options.render:
        if found is None:
            raise SystemExit(f"{options.out} does not exist. Measure something first.")
        _write_results(options.out, found)
        return
    measures = _choose_measures(options.rows)
    # All rows are a table of their own. Some of them join those of this machine.
    found = merge_rows(found if options.rows else None, describe_machine(), ())
    failed = _measure_all(measures, options, found)
    if failed:
        raise SystemExit(f"Not measured, for the reasons above: {', '.join(failed)}.")


def _measure_all(
    measures: Sequence[Measure], options: argparse.Namespace, found: dict[str, Any]
) -> list[str]:
    """Measure rows and write each one when it is done. Returns the names of those that failed."""
    failed = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="graft-bench-")))
        for measure in measures:
            own = folder / measure.name
            own.mkdir()
            began = time.monotonic()
            try:
                row = measure_row(measure, Workplace(own, options.quick, stack))
            except (Exception, SystemExit):  # noqa: BLE001 - the other rows are still worth it
                traceback.print_exc()
                failed.append(measure.name)
                continue
            seconds = time.monotonic() - began
            print(f"{measure.name}: {row['ratio']:.3g}, in {seconds:.0f} s", file=sys.stderr)
            found = merge_rows(found, found["machine"], [row])
            _write_results(options.out, found)
    return failed


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
    """Write the JSON, and the page beside it."""
    path.write_text(json.dumps(results, indent=2) + "\n")
    path.with_suffix(".md").write_text(render(results))


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

"""From turns to rows of `docs/results.json`."""

import datetime
import os
import platform
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tools.bench.measuring import Better, Measure, Sample

PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "scipy")
# Instructions that change how fast the libraries compute.
FLAGS = re.compile(r"sse4_2|avx\w*|fma|amx\w*|asimd\w*|sve\w*|bf16")
RESAMPLES = 10_000
CONFIDENCE = 0.95


def make_row(
    measure: Measure,
    turns: Sequence[tuple[Sample, Sample]],
    notes: Mapping[str, float],
    profile: str,
    load: float,
) -> dict[str, Any]:
    """One row of the file, from the turns of both sides.

    Args:
        measure: what was measured.
        turns: (ours, rival), at least one.
        notes: what the sides found beside their time.
        profile: `quick` or `full`.
        load: of the machine when the row began, as a mean of one minute.
    """
    ratios = [_divide(measure.better, ours.seconds, rival.seconds) for ours, rival in turns]
    low, high = bootstrap_median(ratios)
    return {
        "name": measure.name,
        "ours": measure.ours,
        "rival": measure.rival,
        "better": measure.better,
        "ours_seconds": round(median(ours.seconds for ours, _ in turns), 4),
        "rival_seconds": round(median(rival.seconds for _, rival in turns), 4),
        "ratio": round(median(ratios), 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "cpu_ratio": _compare_cpu(measure.better, turns),
        "floor": measure.floor,
        "goal": measure.goal,
        "met": judge(measure, median(ratios)),
        "turns": len(turns),
        "profile": profile,
        "load": round(load, 1),
        "measured": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "notes": {name: round(value, 4) for name, value in notes.items()},
    }


def bootstrap_median(ratios: Sequence[float]) -> tuple[float, float]:
    """The percentile interval of the median of ratios, by resampling the turns.

    Of three turns it is their smallest and largest ratio. Source: Efron, "Bootstrap Methods:
    Another Look at the Jackknife", 1979.
    """
    draw = np.random.default_rng(0)
    drawn = draw.choice(np.asarray(ratios), (RESAMPLES, len(ratios)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.median(drawn, axis=1), [tail, 1 - tail])
    return float(low), float(high)


def judge(measure: Measure, ratio: float) -> str:
    """`goal` or `floor`, whichever is met, else `missed`. Empty where none was set."""
    if measure.floor is None:
        return ""
    if measure.better == "equal":
        return "floor" if abs(ratio - 1) <= measure.floor else "missed"
    for name, bound in (("goal", measure.goal), ("floor", measure.floor)):
        if bound is None:
            continue
        if ratio >= bound if measure.better == "higher" else ratio <= bound:
            return name
    return "missed"


def describe_machine() -> dict[str, Any]:
    """What the figures depend on beside the code."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _read_processor("model name"),
        "flags": sorted(set(FLAGS.findall(_read_processor("flags")))),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "versions": _list_versions(),
    }


def merge_rows(
    found: Mapping[str, Any] | None, machine: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Put rows into what was measured before. A row of the same name is replaced at its place.

    What the file has beside its rows stays.

    Args:
        found: the content of the file, if there is one to go on with.
        machine: of the new rows.
        rows: the new ones.

    Raises:
        SystemExit: the file was measured on another machine.
    """
    if found is None:
        return {"machine": dict(machine), "rows": list(rows)}
    if found["machine"] != machine:
        raise SystemExit(
            "The other rows of the file were measured on another machine or with other versions. "
            "Expected the same ones, since one table is of one machine. "
            "Measure all rows, or name another file with --out."
        )
    merged = {row["name"]: row for row in found["rows"]}
    merged.update({row["name"]: row for row in rows})
    return {**found, "rows": list(merged.values())}


def _divide(better: Better, ours: float, rival: float) -> float:
    return rival / ours if better == "higher" else ours / rival


def _compare_cpu(better: Better, turns: Sequence[tuple[Sample, Sample]]) -> float | None:
    """The same ratio by seconds of CPU. None where the clock of the system is too coarse for it."""
    if min(sample.cpu_seconds for turn in turns for sample in turn) < 0.05:
        return None
    ratios = [_divide(better, ours.cpu_seconds, rival.cpu_seconds) for ours, rival in turns]
    return round(median(ratios), 4)


def _read_processor(name: str) -> str:
    """A field of the first processor. Empty where the system does not tell it."""
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    found = re.search(rf"^{name}\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1] if found else ""


def _list_versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue  # TensorFlow is installed under one of several names
    return versions

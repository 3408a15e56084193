"""`make bench`: what Graft costs beside a rival in the same run, interleaved, by medians.

    KERAS_HOME=~/.cache/graft/keras .venv/bin/python -m tools.bench.bench [file.json] [repeats]

Ratios are what to rely on: both sides share whatever else the machine is doing. Prints a table and
writes JSON.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tools import photographs
from tools.bench import rivals
from tools.paths import ROOT

GRAFT = (sys.executable, "-m", "job")
PLAIN = (sys.executable, "-c", "pass")
TENSORFLOW = (sys.executable, "-c", "import tensorflow")


def main(path: str = "run/bench.json", turns: str = "3") -> None:
    """Measure everything, print the table and write it to `path`."""
    repeats = int(turns)
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as folder:
        figures = {
            "settings error": _time_settings_error(max(repeats, 5)),
            "first batch": _time_first_batch(Path(folder), repeats),
            **rivals.photographs(Path(folder), repeats),
        }
    for name, row in figures.items():
        print(f"{name:<16}" + "  ".join(f"{key} {value:.3f}" for key, value in row.items()))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(
        json.dumps({"cpus": os.cpu_count(), "repeats": repeats, "figures": figures}, indent=2)
        + "\n"
    )


def against(
    repeats: int, ours: Callable[[], float], rival: Callable[[], float]
) -> dict[str, float]:
    """Seconds of each, in turns; the ratio is the median over the turns."""
    turns = [(ours(), rival()) for _ in range(repeats)]
    return {
        "ours_s": statistics.median(turn[0] for turn in turns),
        "rival_s": statistics.median(turn[1] for turn in turns),
        "ratio": statistics.median(turn[0] / turn[1] for turn in turns),
    }


def _time_settings_error(repeats: int) -> dict[str, float]:
    """From exec to exit, against a Python that does nothing."""
    environment = os.environ | {"GRAFT_DATASTE_URI": "file:///nowhere"}
    return against(
        repeats,
        lambda: _time_command((*GRAFT, "settings"), environment, 2),
        lambda: _time_command(PLAIN),
    )


def _time_command(
    command: tuple[str, ...], environment: dict[str, str] | None = None, code: int = 0
) -> float:
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    took = time.monotonic() - started
    if done.returncode != code:
        raise SystemExit(
            f"{' '.join(command)} ended with {done.returncode}, expected {code}:\n"
            f"{done.stderr.decode()}"
        )
    return took


def _time_first_batch(folder: Path, repeats: int) -> dict[str, float]:
    """`graft run` up to its first batch, its cache warm, against importing TensorFlow."""
    environment = os.environ | {
        "GRAFT_DATASET_URI": photographs.ensure_photographs().as_uri(),
        "GRAFT_OUTPUT_URI": (folder / "models").as_uri(),
        "GRAFT_CACHE_DIR": str(folder / "cache"),
        "GRAFT_BACKBONE_NAME": "EfficientNetLite0",
        "GRAFT_TRANSFER_MODE": "none",
        "GRAFT_TELEMETRY_PORT": "0",
    }
    command = (sys.executable, "-m", "tools.bench.first_batch")
    _time_command(command, environment)  # fills the cache
    return against(
        repeats, lambda: _time_command(command, environment), lambda: _time_command(TENSORFLOW)
    )


if __name__ == "__main__":
    main(*sys.argv[1:])

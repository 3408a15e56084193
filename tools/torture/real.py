"""Real runs that are really killed: the release must be the same, byte for byte.

    python -m tools.torture.real --kills 20
    python -m tools.torture.real --kills 100 --folder night   # goes on where it was stopped

One run is left alone. Others like it get kill -9 or SIGTERM at random moments, up to three times,
until an attempt is left alone too. The SHA-256 of every file that its manifest promises is compared
with the first run's. The network is the smallest backbone, without pre-trained weights.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tools.paths import ROOT

SETTINGS = {
    "GRAFT_NAME": "colours",
    "GRAFT_BACKBONE_NAME": "MobileNet",
    "GRAFT_BACKBONE_IMAGE_SIZE": "32",
    "GRAFT_BACKBONE_WEIGHTS": "none",
    "GRAFT_TRANSFER_MODE": "all",
    "GRAFT_TRAINING_EPOCHS": "4",
    "GRAFT_TRAINING_PATIENCE": "0",
    "GRAFT_CHECKPOINT_INTERVAL_SECONDS": "0",
    "GRAFT_EXPORT_FORMATS": "saved_model",
    "GRAFT_TELEMETRY_PORT": "0",
}
IMAGES = 12
BEGIN = re.compile(r'"message": ?"(\w+) begins')
MOST_KILLS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One attempt that was ended.

    Attributes:
        history: number of the run whose attempt it was.
        signal: `SIGKILL` or `SIGTERM`.
        phase: of the run at that moment, or `start` before the first one.
        seconds: from the signal to the end of the process. A state is durable by then.
        code: exit code.
    """

    history: int
    signal: str
    phase: str
    seconds: float
    code: int


@dataclass(slots=True, kw_only=True)
class Attempt:
    """A `graft run` in a process group of its own.

    Attributes:
        process: the started one.
        phase: in which it is.
        begun: by phase: seconds since the start.
        reader: follows the log.
    """

    process: subprocess.Popen[str]
    phase: str
    begun: dict[str, float]
    reader: threading.Thread = field(init=False)

    @classmethod
    def start(cls, settings: Mapping[str, str], log: Path) -> "Attempt":
        """Start a run. Its log is appended to a file."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("GRAFT_", "AWS_"))
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "job", "run"],
            env=inherited | {"PYTHONPATH": str(ROOT)} | dict(settings),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        attempt = cls(process=process, phase="start", begun={"start": 0.0})
        attempt.reader = threading.Thread(target=attempt._follow, args=(log, time.monotonic()))
        attempt.reader.start()
        return attempt

    def _follow(self, log: Path, started: float) -> None:
        assert self.process.stderr
        with self.process.stderr as lines, log.open("a") as file:
            for line in lines:
                file.write(line)
                if found := BEGIN.search(line):
                    self.phase = found[1]
                    self.begun[self.phase] = time.monotonic() - started

    def wait_for(self, phase: str, seconds: float) -> bool:
        """Wait until some seconds of a phase are over. Returns whether the run still goes on."""
        while self.process.poll() is None:
            if phase in self.begun:
                break
            time.sleep(0.02)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def end(self, number: signal.Signals | None = None) -> float:
        """Send a signal, if any, and wait for the end. Returns the seconds that this took."""
        began = time.monotonic()
        if number == signal.SIGKILL:
            # As a node that goes away: no process of the pod is left.
            os.killpg(self.process.pid, number)
        elif number:
            self.process.send_signal(number)
        self.process.wait()
        seconds = time.monotonic() - began
        self.reader.join()
        return seconds


def draw_images(folder: Path) -> None:
    """Noise in which one colour is stronger."""
    chance = np.random.default_rng(7)
    for channel, name in enumerate(("red", "green", "blue")):
        (folder / name).mkdir(parents=True)
        for number in range(IMAGES):
            pixels = chance.integers(0, 90, (32, 32, 3), dtype=np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def read_promised(output: Path) -> dict[str, str]:
    """SHA-256 of each file that the manifest of the only release promises.

    Raises:
        ValueError: there is not one release.
    """
    manifests = list(output.glob("colours/releases/*/manifest.json"))
    if len(manifests) != 1:
        raise ValueError(f"{output} has {len(manifests)} releases")
    files = json.loads(manifests[0].read_text())["files"]
    return {name: promised["sha256"] for name, promised in files.items()}


class Engine:
    """Undisturbed and disturbed runs below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._attempt: Attempt | None = None
        if not self._data.is_dir():
            draw_images(self._data)

    def leave_alone(self) -> tuple[dict[str, str], dict[str, float]]:
        """The run that nothing disturbs: its promised files, and how long each phase took."""
        place = self._folder / "undisturbed"
        facts = place / "phases.json"
        if not facts.is_file():
            shutil.rmtree(place, ignore_errors=True)
            began = time.monotonic()
            attempt = self._start(place, "cache")
            attempt.end()
            whole = time.monotonic() - began
            if attempt.process.returncode:
                raise ValueError(f"the undisturbed run ended with {attempt.process.returncode}")
            begins = [*attempt.begun.values(), whole]
            lengths = [late - early for early, late in pairwise(begins)]
            facts.write_text(json.dumps(dict(zip(attempt.begun, lengths, strict=True))))
        return read_promised(place / "out"), json.loads(facts.read_text())

    def disturb(self, history: int, seed: int, phases: Mapping[str, float]) -> list[Kill]:
        """A run that is killed up to three times, and then left alone.

        Raises:
            ValueError: it did not end well.
        """
        chance = random.Random(f"{seed} {history}")
        place = self._folder / f"history-{history}"
        shutil.rmtree(place, ignore_errors=True)
        kills = []
        for number in range(chance.randint(1, MOST_KILLS)):
            phase = chance.choice(sorted(phases))
            seconds = chance.random() * phases[phase]
            kind = chance.choice((signal.SIGKILL, signal.SIGTERM))
            # A pod on another node has an empty cache.
            attempt = self._start(place, chance.choice(("cache", f"cache{number}")))
            if not attempt.wait_for(phase, seconds):
                attempt.end()
                break
            reached = attempt.phase
            taken = attempt.end(kind)
            kills.append(
                Kill(
                    history=history,
                    signal=kind.name,
                    phase=reached,
                    seconds=taken,
                    code=attempt.process.returncode,
                )
            )
        last = self._start(place, "cache")
        last.end()
        if last.process.returncode:
            raise ValueError(f"history {history} ended with {last.process.returncode}")
        return kills

    def compare(self, history: int, expected: Mapping[str, str]) -> list[str]:
        """The names of promised files that differ from those of the undisturbed run."""
        place = self._folder / f"history-{history}"
        found = read_promised(place / "out")
        names = sorted({*found, *expected})
        different = [name for name in names if found.get(name) != expected.get(name)]
        if not different:
            shutil.rmtree(place)
        return different

    def _start(self, place: Path, cache: str) -> Attempt:
        place.mkdir(parents=True, exist_ok=True)
        settings = SETTINGS | {
            "GRAFT_DATASET_URI": self._data.as_uri(),
            "GRAFT_OUTPUT_URI": (place / "out").as_uri(),
            "GRAFT_CACHE_DIR": str(place / cache),
        }
        self._attempt = Attempt.start(settings, place / "log.jsonl")
        return self._attempt

    def close(self) -> None:
        """End the attempt that goes on, if any."""
        if self._attempt and self._attempt.process.poll() is None:
            self._attempt.end(signal.SIGKILL)


def summarize(kills: list[Kill]) -> dict[str, Any]:
    """The figures: how many kills, and the seconds from SIGTERM to the end by phase."""
    seconds: dict[str, list[float]] = {}
    counts: dict[int, int] = {}
    for kill in kills:
        counts[kill.history] = counts.get(kill.history, 0) + 1
        if kill.signal == "SIGTERM":
            seconds.setdefault(kill.phase, []).append(kill.seconds)
    ends = {}
    for phase, values in sorted(seconds.items()):
        p99 = float(np.percentile(values, 99))
        middle = statistics.median(values)
        ends[phase] = {"n": len(values), "p50": round(middle, 2), "p99": round(p99, 2)}
    return {
        "runs that were killed": len(counts),
        "kills": len(kills),
        "kill -9": sum(kill.signal == "SIGKILL" for kill in kills),
        "runs with several": sum(count > 1 for count in counts.values()),
        "SIGTERM to the end, seconds": ends,
    }


def torture(folder: Path, kills: int, seed: int, seconds: float) -> tuple[dict[str, Any], int]:
    """Disturb runs until so many kills have happened. Returns the figures and the differences."""
    engine, record = Engine(folder), folder / "kills.jsonl"
    with closing(engine):
        expected, phases = engine.leave_alone()
        done: list[Kill] = []
        if record.is_file():
            done = [Kill(**json.loads(line)) for line in record.read_text().splitlines()]
        history = max((kill.history for kill in done), default=-1) + 1
        began, differences = time.monotonic(), 0
        while len(done) < kills and time.monotonic() - began < seconds:
            new = engine.disturb(history, seed, phases)
            different = engine.compare(history, expected)
            differences += len(different)
            for kill in new:
                print(kill, flush=True)
            if different:
                print(f"history {history}, seed {seed}: {', '.join(different)} differ", flush=True)
            with record.open("a") as file:
                file.writelines(json.dumps(asdict(kill)) + "\n" for kill in new)
            done += new
            history += 1
    return summarize(done), differences


def main() -> int:
    """Print the figures. The exit code is 1 if a file differs."""
    parser = argparse.ArgumentParser(prog="python -m tools.torture.real", description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no run after so long")
    parser.add_argument("--folder", type=Path, help="keep everything there, and go on from there")
    options = parser.parse_args()
    # So that no run is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        figures, differences = torture(folder, options.kills, options.seed, options.seconds)
    print(json.dumps({**figures, "files that differ": differences}))
    return bool(differences)


if __name__ == "__main__":
    sys.exit(main())

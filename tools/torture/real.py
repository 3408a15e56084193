"""Real runs that are really killed: the release must be the same, byte for byte.

    python -m tools.torture.real --kills 20
    python -m tools.torture.real --kills 100 --folder night   # goes on where it was stopped
    python -m tools.torture.real --variant workers            # one of two workers is killed

One run is left alone. Others like it get kill -9 or SIGTERM at random moments, up to six times,
until an attempt is left alone too. The SHA-256 of every file that its manifest promises is compared
with the first run's. The network is the smallest backbone, without pre-trained weights.
"""

import argparse
import json
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tools.torture.attempt import Attempt

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
# A head needs weights, which are random too.
WEIGHTS = """
import sys
import keras
keras.utils.set_random_seed(1)
network = keras.applications.MobileNet(weights=None, include_top=False, input_shape=(32, 32, 3))
network.save_weights(sys.argv[1])
"""
# What is trained, and on what. A head costs half of what a whole network costs.
HEAD = {
    "GRAFT_TRANSFER_MODE": "none",
    "GRAFT_HEAD_UNITS": "16",
    "GRAFT_TRAINING_EPOCHS": "20",
}
VARIANTS: Mapping[str, Mapping[str, str]] = {
    "all": {},
    "head": HEAD,
    "devices": HEAD | {"GRAFT_DEVICES_LOGICAL_CPUS": "2"},
    "workers": HEAD,
}
IMAGES = 12
MOST_KILLS = 6
# After the loss of a worker the other one has so many seconds to notice. Before they have met it
# would wait for long, and is asked to stop.
NOTICE_SECONDS = 15


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
    """Undisturbed and disturbed runs of one variant below one folder."""

    def __init__(self, folder: Path, variant: str) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._variant = variant
        # Of the run that goes on: one per worker.
        self._attempts: list[Attempt] = []
        self._weights = folder / "mobile.weights.h5"
        if not self._data.is_dir():
            draw_images(self._data)
        if VARIANTS[variant] and not self._weights.is_file():
            subprocess.run([sys.executable, "-c", WEIGHTS, self._weights], check=True)

    def leave_alone(self) -> tuple[dict[str, str], dict[str, float]]:
        """The run that nothing disturbs: its promised files, and how long each phase took."""
        place = self._folder / "undisturbed"
        facts = place / "phases.json"
        if not facts.is_file():
            shutil.rmtree(place, ignore_errors=True)
            began = time.monotonic()
            self._complete(place)
            whole = time.monotonic() - began
            begun = self._attempts[0].begun
            lengths = [late - early for early, late in pairwise([*begun.values(), whole])]
            facts.write_text(json.dumps(dict(zip(begun, lengths, strict=True))))
        return read_promised(place / "out"), json.loads(facts.read_text())

    def disturb(
        self, history: int, seed: int, phases: Mapping[str, float], done: int
    ) -> Iterator[Kill]:
        """A run that is killed up to MOST_KILLS times, and then left alone. Yields each kill.

        Args:
            history: its number.
            seed: of the moments.
            phases: how long each takes, in seconds.
            done: how many of its kills have happened before this process began.

        Raises:
            ValueError: it did not end well.
        """
        place = self._folder / f"history-{history}"
        for number in range(done, random.Random(f"{seed} {history}").randint(1, MOST_KILLS)):
            chance = random.Random(f"{seed} {history} {number}")
            phase = chance.choice(sorted(phases))
            seconds = chance.random() * phases[phase]
            kind = chance.choice((signal.SIGKILL, signal.SIGTERM))
            # A pod on another node has an empty cache.
            self._start(place, chance.choice(("cache", f"cache{number}")))
            victim = chance.choice(self._attempts)
            is_killed = victim.wait_for(phase, seconds)
            reached = victim.phase
            taken = victim.end(kind if is_killed else None)
            self._end_others(victim)
            if not is_killed:
                break
            yield Kill(
                history=history,
                signal=kind.name,
                phase=reached,
                seconds=taken,
                code=victim.process.returncode,
            )
        self._complete(place)

    def compare(self, history: int, expected: Mapping[str, str]) -> list[str]:
        """The names of promised files that differ from those of the undisturbed run."""
        place = self._folder / f"history-{history}"
        found = read_promised(place / "out")
        names = sorted({*found, *expected})
        different = [name for name in names if found.get(name) != expected.get(name)]
        if not different:
            shutil.rmtree(place)
        return different

    def is_open(self, history: int) -> bool:
        """Whether a run has been disturbed, and not compared yet, or differs."""
        return (self._folder / f"history-{history}").is_dir()

    def _start(self, place: Path, cache: str) -> None:
        """Start the run: one process, or one per worker, each with a cache of its own."""
        place.mkdir(parents=True, exist_ok=True)
        settings = {
            **SETTINGS,
            **VARIANTS[self._variant],
            "GRAFT_DATASET_URI": self._data.as_uri(),
            "GRAFT_OUTPUT_URI": (place / "out").as_uri(),
        }
        if self._weights.is_file():
            settings["GRAFT_BACKBONE_WEIGHTS"] = self._weights.as_uri()
        self._attempts = []
        for index, group in enumerate(_make_groups(2 if self._variant == "workers" else 1)):
            here = {"GRAFT_CACHE_DIR": str(place / f"{cache}-{index}"), **group}
            self._attempts.append(Attempt.start(settings | here, place / f"log-{index}.jsonl"))

    def _complete(self, place: Path) -> None:
        """Run to the end.

        Raises:
            ValueError: a worker did not end well.
        """
        self._start(place, "cache")
        for attempt in self._attempts:
            attempt.end()
        codes = [attempt.process.returncode for attempt in self._attempts]
        if any(codes):
            raise ValueError(f"what was left alone in {place.name} ended with {codes}")

    def _end_others(self, victim: Attempt) -> None:
        """Wait until the other workers have noticed that one is lost."""
        for other in self._attempts:
            if other is victim:
                continue
            with suppress(subprocess.TimeoutExpired):
                other.process.wait(NOTICE_SECONDS)
            other.end(signal.SIGTERM if other.process.poll() is None else None)

    def close(self) -> None:
        """End what goes on, if anything does."""
        for attempt in self._attempts:
            if attempt.process.poll() is None:
                attempt.end(signal.SIGKILL)


def _make_groups(workers: int) -> list[dict[str, str]]:
    """TF_CONFIG of each worker, on ports that nobody has. One worker needs none."""
    if workers == 1:
        return [{}]
    with ExitStack() as held:
        free = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(workers)]
        addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in free]
    groups = []
    for index in range(workers):
        task = {"type": "worker", "index": index}
        groups.append({"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task})})
    return groups


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


def torture(
    folder: Path, kills: int, seed: int, seconds: float, variant: str = "all"
) -> tuple[dict[str, Any], int]:
    """Disturb runs until so many kills have happened. Returns the figures and the differences."""
    engine, record = Engine(folder, variant), folder / "kills.jsonl"
    with closing(engine):
        expected, phases = engine.leave_alone()
        done: list[Kill] = []
        if record.is_file():
            done = [Kill(**json.loads(line)) for line in record.read_text().splitlines()]
        history = max((kill.history for kill in done), default=0)
        if done and not engine.is_open(history):
            history += 1
        began, differences = time.monotonic(), 0
        while len(done) < kills and time.monotonic() - began < seconds:
            before = sum(kill.history == history for kill in done)
            for kill in engine.disturb(history, seed, phases, before):
                print(kill, flush=True)
                with record.open("a") as file:
                    file.write(json.dumps(asdict(kill)) + "\n")
                done.append(kill)
            different = engine.compare(history, expected)
            differences += len(different)
            if different:
                print(f"history {history}, seed {seed}: {', '.join(different)} differ", flush=True)
            history += 1
    return summarize(done), differences


def main() -> int:
    """Print the figures. The exit code is 1 if a file differs."""
    parser = argparse.ArgumentParser(prog="python -m tools.torture.real", description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no run after so long")
    parser.add_argument("--variant", choices=VARIANTS, default="all", help="what is trained")
    parser.add_argument("--folder", type=Path, help="keep everything there, and go on from there")
    options = parser.parse_args()
    # So that no run is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)).resolve() / options.variant
        folder.mkdir(parents=True, exist_ok=True)
        figures, differences = torture(
            folder, options.kills, options.seed, options.seconds, options.variant
        )
    print(json.dumps({**figures, "files that differ": differences}))
    return bool(differences)


if __name__ == "__main__":
    sys.exit(main())

"""What one row of the table is: two sides that are measured in turns."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tools.paths import ROOT

# What takes longer hangs. Its row fails then, and the others are still measured.
MOST_SECONDS = 1800

Better = Literal["higher", "lower", "equal"]


@dataclass(frozen=True, slots=True)
class Sample:
    """What one turn of one side took: seconds, and seconds of CPU of this process and its children.

    The second one depends less on what else the machine does.
    """

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sides, ready to be measured any number of times.

    Attributes:
        ours, rival: do the work of one turn.
        notes: what the sides found beside their time, such as an accuracy. They fill it.
    """

    ours: Callable[[], Sample]
    rival: Callable[[], Sample]
    notes: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where a row is prepared.

    Attributes:
        folder: an empty one for this row.
        quick: whether to take little data.
        stack: closed when all rows are measured.
    """

    folder: Path
    quick: bool
    stack: contextlib.ExitStack


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One row of the table.

    Attributes:
        name: as in `--rows`.
        ours: what is measured, in words.
        rival: what it is measured beside.
        better: of the ratio. `higher`: it is the rival's seconds divided by ours. `lower` and
            `equal`: it is ours divided by the rival's.
        prepare: makes everything that is not measured. TensorFlow is not imported before it.
        turns: of the profiles `quick` and `full`.
        floor: the worst ratio that is accepted. With `equal`, how far it may be from 1.
        goal: the ratio that is aimed at.
    """

    name: str
    ours: str
    rival: str
    better: Better
    prepare: Callable[[Workplace], Sides]
    turns: tuple[int, int]
    floor: float | None = None
    goal: float | None = None


def join_devices() -> None:
    """Set up TensorFlow as a run does, before a row computes anything.

    It takes its number of threads once. So each row in this process does this first.
    """
    from job import workers
    from job.settings import DevicesSettings

    workers.join(DevicesSettings())


def time_work(work: Callable[[], Any]) -> Sample:
    """Do some work in this process, and measure it."""
    began, cpu_began = time.monotonic(), _count_cpu_seconds()
    work()
    return Sample(time.monotonic() - began, _count_cpu_seconds() - cpu_began)


def time_command(
    command: tuple[str, ...], variables: Mapping[str, str] | None = None, code: int = 0
) -> Sample:
    """Run a command from `exec` to exit, and measure it.

    Args:
        command: the program and its arguments.
        variables: of its environment, beside those of this process.
        code: that it must end with.

    Raises:
        SystemExit: it ended with another code.
        TimeoutExpired: it did not end.
    """
    # A variable of the person who measures would make it another measurement.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GRAFT_")}
    environment |= variables or {}
    began, cpu_began = time.monotonic(), _count_cpu_seconds()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=False,
        timeout=MOST_SECONDS,
    )
    sample = Sample(time.monotonic() - began, _count_cpu_seconds() - cpu_began)
    if done.returncode != code:
        raise SystemExit(
            f"{' '.join(command)} ended with {done.returncode}, expected {code}:\n"
            f"{done.stderr.decode(errors='replace')}"
        )
    return sample


def _count_cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system

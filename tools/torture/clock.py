"""Time and chance of a simulated world: both come from its seed."""

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

STEP_SECONDS = 0.001


@dataclass(slots=True)
class Clock:
    """The clock of a world. Each look at it takes a moment.

    Attributes:
        now: seconds since the world began. They never go back.
        beginning: of the world, as seconds since 1970. Files of a folder have real times.
        find_skew: seconds by which the machine of the present process is ahead.
    """

    now: float = 0.0
    beginning: float = field(default_factory=time.time)
    find_skew: Callable[[], float] = lambda: 0.0

    def read_monotonic(self) -> float:
        """As `time.monotonic`."""
        self.now += STEP_SECONDS
        return self.now

    def read_wall(self) -> float:
        """The true time, which the servers have."""
        return self.beginning + self.read_monotonic()

    def read_skewed(self) -> float:
        """As `time.time` on the machine of the present process."""
        return self.read_wall() + self.find_skew()


@contextmanager
def replace_time_and_chance(
    clock: Clock, chance: random.Random, scratch: Path, give_way: Callable[[], object]
) -> Iterator[None]:
    """Inside, time passes only by what the processes do, and chance is that of the seed.

    Args:
        clock: of the world.
        chance: where random bytes come from.
        scratch: the folder for temporary files.
        give_way: called by a process that sleeps.
    """

    def sleep(seconds: float) -> None:
        clock.now += seconds
        give_way()

    with (
        patch.object(time, "time", clock.read_skewed),
        patch.object(time, "monotonic", clock.read_monotonic),
        patch.object(time, "sleep", sleep),
        patch.object(os, "urandom", chance.randbytes),
        patch.object(tempfile, "tempdir", str(scratch)),
        patch.object(tempfile, "_name_sequence", _Names(chance)),
    ):
        yield


class _Names:
    """Names of temporary files."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def __iter__(self) -> "_Names":
        return self

    def __next__(self) -> str:
        return self._chance.randbytes(4).hex()

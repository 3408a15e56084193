"""The folder outside the checkout in which made and fetched things outlive it, and the lock of whoever makes one."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "graft"
BIN = CACHE / "bin"  # programs


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Let one process in at a time; a second one waits. The kernel drops the lock with the process that held it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield

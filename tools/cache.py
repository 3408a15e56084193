"""The folder outside the checkout for what is built or fetched once, and its lock."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "graft"
BIN = CACHE / "bin"  # programs


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Let one process in at a time. The kernel drops the lock with the process that held it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield

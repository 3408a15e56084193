"""The lock of the one supervisor; the kernel drops it with the process that held it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from tools.cluster.layout import CACHE


@contextmanager
def life() -> Iterator[int | None]:
    """Give the lock that a supervisor holds while it lives, or None where one does already.

    It is handed down when the supervisor is started: even one that has not noted itself yet is not
    overlooked.
    """
    with (CACHE / "life.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield lock.fileno()

"""Between the processes of a world and the operating system: turns, faults and death."""

import builtins
import errno
import fcntl
import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from job.files import PARTIAL
from tools.torture.scheduler import Scheduler

ERRORS = {"enospc": errno.ENOSPC, "eio": errno.EIO}
CHECKPOINT = re.compile(r"/checkpoints/.*\.npz$")
# Functions of `os` by the position of the path that names the operation.
CHANGES = {"link": 1, "rename": 1, "replace": 1, "unlink": 0, "mkdir": 0, "rmdir": 0}


class Disk:
    """The operations of the file system below one folder."""

    def __init__(self, scheduler: Scheduler, root: Path, writable: Callable[[Path], bool]) -> None:
        """Nothing is replaced yet.

        Args:
            scheduler: gives each operation its turn and its fault.
            root: of the world. Elsewhere nothing is changed.
            writable: whether a process may write to a path.
        """
        self._scheduler = scheduler
        self._root = os.path.realpath(root) + "/"
        self._writable = writable
        self.strays: list[str] = []
        # The files whose content was damaged.
        self.rotten: list[str] = []
        # What was written and is not synced yet, and what got its name too early.
        self._unsynced: set[str] = set()
        self.not_durable: list[str] = []

    @contextmanager
    def replace_system_calls(self) -> Iterator[None]:
        """Inside, the operations of the processes go through here."""
        replaced: list[tuple[Any, str, Any]] = [
            (os, name, self._wrap_change(name, place)) for name, place in CHANGES.items()
        ]
        replaced += [
            (os, "fsync", self._wrap_sync()),
            (os, "scandir", self._wrap_read("scandir", os.scandir)),
            (io, "open", self._wrap_open()),
            (builtins, "open", self._wrap_open()),
            (fcntl, "flock", self._wrap_lock()),
        ]
        with ExitStack() as stack:
            for module, name, function in replaced:
                stack.enter_context(patch.object(module, name, function))
            yield

    def _name(self, path: Any) -> str | None:
        """The path below the root, or None where it is elsewhere."""
        if isinstance(path, int):
            return None
        # Not resolved, which would need the calls that are replaced.
        full = os.path.abspath(os.fspath(path))  # noqa: PTH100
        return full.removeprefix(self._root) if full.startswith(self._root) else None

    def _wrap_change(self, name: str, place: int) -> Callable[..., Any]:
        real = getattr(os, name)

        def change(*paths: Any, **more: Any) -> Any:
            below = None if more.get("dir_fd") is not None else self._name(paths[place])
            if self._scheduler.current is None or below is None:
                return real(*paths, **more)
            self._require_writable(Path(paths[place]))
            self._operate(name, below, "eio", *(() if name in ("unlink", "rmdir") else ("enospc",)))
            is_publication = place and PARTIAL.fullmatch(Path(paths[0]).name)
            if is_publication and str(paths[0]) in self._unsynced:
                self.not_durable.append(f"{paths[0]} got its name before it was on the disk")
            answer = real(*paths, **more)
            if is_publication:
                self._unsynced.add(str(Path(paths[place]).parent))
            self._scheduler.done(name, below)
            return answer

        return change

    def _wrap_sync(self) -> Callable[..., Any]:
        def sync(descriptor: int) -> None:
            # A file system in memory has nothing to do here, and a disk would take long.
            if self._scheduler.current:
                self._operate("fsync", "", "eio", "enospc")
                self._unsynced.discard(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

        return sync

    def _wrap_read(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def read(path: Any = ".") -> Any:
            below = self._name(path)
            if self._scheduler.current and below is not None:
                self._operate(name, below)
            return real(path)

        return read

    def _wrap_open(self) -> Callable[..., Any]:
        real = io.open

        def open_file(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
            below = self._name(file)
            if self._scheduler.current is None or isinstance(file, int):
                return real(file, mode, *more, **named)
            writes = bool(set(mode) & set("wax+"))
            if writes:
                self._require_writable(Path(file))
            if below is not None:
                self._open_below(Path(file), below, writes=writes)
            if set(mode) & set("wax"):
                self._unsynced.add(str(file))
            return real(file, mode, *more, **named)

        return open_file

    def _open_below(self, path: Path, below: str, *, writes: bool) -> None:
        if writes:
            self._operate("open to write", below, "eio", "enospc")
            return
        can = ("rot",) if CHECKPOINT.search(below) and path.is_file() else ()
        fault = self._scheduler.operate("open", below, can)
        if fault == "rot":
            with self._scheduler.outside():
                self.damage(path)

    def damage(self, path: Path) -> None:
        """Flip a bit of a file, as a failing disk does."""
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        self.rotten.append(str(path))

    def _wrap_lock(self) -> Callable[..., Any]:
        real = fcntl.flock

        def lock(file: Any, operation: int) -> None:
            if self._scheduler.current is None:
                return real(file, operation)
            self._operate("flock", "")
            while True:
                try:
                    return real(file, operation | fcntl.LOCK_NB)
                except BlockingIOError:
                    if operation & fcntl.LOCK_NB:
                        raise
                self._scheduler.wait("a lock")

        return lock

    def _operate(self, kind: str, what: str, *can: str) -> None:
        fault = self._scheduler.operate(kind, what, can)
        if fault:
            raise OSError(ERRORS[fault], os.strerror(ERRORS[fault]), what)

    def find_unsynced_names(self) -> list[str]:
        """The folders of files that got their names and are not synced yet."""
        return [path for path in self._unsynced if Path(path).is_dir()]

    def _require_writable(self, path: Path) -> None:
        if not self._writable(path):
            self.strays.append(str(path))

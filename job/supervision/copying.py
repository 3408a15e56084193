"""The pipes of the working process, line by line onto the one real stderr."""

import contextlib
import json
import os
import select
import threading
import time
from collections import deque
from collections.abc import Iterator

from job.supervision.records import LINES_KEPT, explaining, line_of, record_of

LONGEST_LINE = 16_384
"""Bytes of a native line; what is longer becomes several records."""
PIPE_BYTES = 65_536
"""What a pipe holds at most. Once the work is over, more can only come from a process that it left behind."""


class Copier(threading.Thread):
    """Copies both pipes to stderr line by line, so that no line is torn by another.

    Attributes:
        words: the last native lines that may explain a failure.
        result: the run's result. It is held back, for it is the log's last line, whatever native
            code says later.
    """

    def __init__(self, native: int, log: int) -> None:
        super().__init__(name="stderr", daemon=True)
        self.words: deque[str] = deque(maxlen=LINES_KEPT)
        self.result: bytes | None = None
        self._native, self._quiet = native, log < 0
        self._partial = {native: b""} if self._quiet else {native: b"", log: b""}
        self._over, self._end = os.pipe()

    def run(self) -> None:
        poll = select.poll()
        for source in (self._over, *self._partial):
            poll.register(source, select.POLLIN)
        while self._over not in (ready := [source for source, _ in poll.poll()]):
            for source in ready:
                if not self._copy(source):
                    poll.unregister(source)

    def finish(self) -> None:
        """Copy what is left in the pipes, without waiting for processes that still hold them."""
        os.close(self._end)
        self.join()
        for source in self._partial:
            os.set_blocking(source, False)
            with contextlib.suppress(BlockingIOError):
                self._copy(source)
            if self._partial[source]:
                self._take(source, b"\n")
        if self.result:
            _write_all(self.result + b"\n")

    def _copy(self, source: int) -> bool:
        """Copy what `source` holds; False at its end."""
        data = os.read(source, PIPE_BYTES)
        if data:
            self._take(source, data)
        return bool(data)

    def _take(self, source: int, data: bytes) -> None:
        *lines, rest = (self._partial[source] + data).split(b"\n")
        if source == self._native:
            while len(rest) > LONGEST_LINE:
                lines.append(rest[:LONGEST_LINE])
                rest = rest[LONGEST_LINE:]
        self._partial[source] = rest
        as_records = self._native_records if source == self._native else self._logged
        _write_all(b"".join(record + b"\n" for line in lines for record in as_records(line)))

    def _logged(self, line: bytes) -> Iterator[bytes]:
        """A line of the log as it is, if it is JSON."""
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            yield from self._native_records(line)
        elif "logger" in record:
            yield line
        else:
            self.result = line

    def _native_records(self, line: bytes) -> Iterator[bytes]:
        """The records of a native line; none on a terminal."""
        for start in range(0, len(line), LONGEST_LINE):
            text = line[start : start + LONGEST_LINE].decode("utf-8", "replace").rstrip()
            self.words += explaining([text])
            if text and not self._quiet:
                yield line_of(record_of(time.time(), "info", "native", text)).encode()


def _write_all(data: bytes) -> None:
    """Write to the real stderr however slow its reader is. One that is gone does not end the run."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(2, left) :]
        except BlockingIOError:
            select.select([], [2], [])
        except OSError:
            return

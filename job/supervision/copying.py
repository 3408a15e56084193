"""Copies the pipes of the working process, line by line, to the one real stderr."""

import contextlib
import json
import os
import select
import threading
import time
from collections import deque

from job.supervision.records import LINES_KEPT, format_record, last_explanations, make_record

# Bytes of a native line. A longer one becomes several records.
LONGEST_LINE = 16_384
# What tells the lines of one run from those of others.
RUN_FIELDS = ("model", "run_id")
# What a pipe holds at most. Once the work has ended, more can only come from a process that it left
# behind.
PIPE_BYTES = 65_536
# Terminals: back to the start of the line, and erase it. A progress bar may be on it.
ERASE_LINE = "\r\x1b[K"


class Copier(threading.Thread):
    """Copies both pipes to stderr line by line, so that no line is torn by another.

    Args:
        native: where to read what native code writes.
        log: where to read the log. None on a terminal: there the working process writes its log
            itself, and native lines are only kept.

    Attributes:
        last_lines: the last native lines that may explain a failure.
        result: the run's result. It is written at the end, since it is the log's last line whatever
            native code writes later.
    """

    def __init__(self, native: int, log: int | None) -> None:
        super().__init__(name="stderr", daemon=True)
        self.last_lines: deque[str] = deque(maxlen=LINES_KEPT)
        self.result: bytes | None = None
        # Of the last record: native lines that follow belong to the same run.
        self._run_fields: dict[str, object] = {}
        self._native = native
        self._on_terminal = log is None
        self._partial_lines = {native: b""}
        if log is not None:
            self._partial_lines[log] = b""
        self._notes: deque[str] = deque()
        # Its bytes announce notes, and its end is the end.
        self._control_read, self._control_write = os.pipe()

    def run(self) -> None:
        """Copy until `finish` is called."""
        poll = select.poll()
        for source in (self._control_read, *self._partial_lines):
            poll.register(source, select.POLLIN)
        while True:
            ready = [source for source, _ in poll.poll()]
            if self._control_read in ready:
                ready.remove(self._control_read)
                if not os.read(self._control_read, PIPE_BYTES):
                    return
                self._write_notes()
            for source in ready:
                if not self._copy_available(source):
                    poll.unregister(source)

    def add_note(self, text: str) -> None:
        """Have a sentence of the supervisor written. It does not wait for a slow reader."""
        self._notes.append(text)
        os.write(self._control_write, b"n")

    def finish(self) -> None:
        """Copy what is left in the pipes, without waiting for processes that still hold them."""
        os.close(self._control_write)
        self.join()
        for source in self._partial_lines:
            os.set_blocking(source, False)
            with contextlib.suppress(BlockingIOError):
                self._copy_available(source)
            if self._partial_lines[source]:
                self._copy_lines(source, b"\n")
        if self.result:
            _write_all(self.result + b"\n")

    def _write_notes(self) -> None:
        while self._notes:
            text = self._notes.popleft()
            if self._on_terminal:
                line = ERASE_LINE + text
            else:
                line = format_record(make_record(time.time(), "info", "job.supervision", text))
            _write_all(f"{line}\n".encode())

    def _copy_available(self, source: int) -> bool:
        """Copy what is in a pipe now. False at its end."""
        data = os.read(source, PIPE_BYTES)
        if data:
            self._copy_lines(source, data)
        return bool(data)

    def _copy_lines(self, source: int, data: bytes) -> None:
        """Copy the lines that are complete with `data`, and keep the rest for the next time."""
        *lines, rest = (self._partial_lines[source] + data).split(b"\n")
        if source == self._native:
            while len(rest) > LONGEST_LINE:
                lines.append(rest[:LONGEST_LINE])
                rest = rest[LONGEST_LINE:]
        self._partial_lines[source] = rest

        output = []
        for line in lines:
            if source == self._native:
                output += self._native_records(line)
            else:
                output += self._log_records(line)
        if output:
            _write_all(b"\n".join(output) + b"\n")

    def _log_records(self, line: bytes) -> list[bytes]:
        """A line of the log as it is. The result is held back, and other text becomes a record."""
        try:
            record = json.loads(line)
        except ValueError:
            return self._native_records(line)
        if not isinstance(record, dict):
            return self._native_records(line)
        if "logger" not in record:
            self.result = line
            return []
        self._run_fields = {name: record[name] for name in RUN_FIELDS if name in record}
        return [line]

    def _native_records(self, line: bytes) -> list[bytes]:
        """The records of a native line. There are none on a terminal."""
        records = []
        for start in range(0, len(line), LONGEST_LINE):
            part = line[start : start + LONGEST_LINE]
            text = part.decode("utf-8", "replace").rstrip()
            self.last_lines += last_explanations([text])
            if text and not self._on_terminal:
                record = make_record(time.time(), "info", "native", text)
                records.append(format_record(record | self._run_fields).encode())
        return records


def _write_all(data: bytes) -> None:
    """Write to the real stderr, however slow its reader is. Without a reader the run goes on."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(2, left) :]
        except BlockingIOError:
            select.select([], [2], [])
        except OSError:
            return

"""The log: JSON lines in a container, short lines around a progress bar on a terminal.

Rooms log through `logging.getLogger(__name__)` and give structured values as `extra={"fields":
{...}}`.
"""

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from job import supervision
from job.telemetry.live import plain
from job.telemetry.run_state import RunState
from job.telemetry.snapshot import Line

OURS = ("job", "__main__")
THEIRS = ("absl", "tensorflow")
"""They set their own level, so the root's does not hold for them."""


class JsonFormatter(logging.Formatter):
    """One line of strict JSON a record: ts (ISO 8601, UTC), level, logger, message, fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        entry = supervision.record_of(
            record.created, record.levelname.lower(), record.name, record.getMessage()
        )
        if fields := getattr(record, "fields", None):
            entry["fields"] = plain(fields)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return supervision.line_of(entry)


class PersonFormatter(logging.Formatter):
    """`12:03:11  message`, with the level's name where it matters."""

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        text = f"{time.strftime('%H:%M:%S', time.localtime(record.created))}  {level}{record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class TerminalHandler(logging.StreamHandler[TextIO]):
    """Writes above the progress bars, which would be torn otherwise."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=self.stream)
        except (OSError, ValueError):
            self.handleError(record)


class RunStateHandler(logging.Handler):
    """Shows the messages on the live page: never fields or tracebacks, which may name this machine's paths.

    What telemetry itself says of phases and epochs is on that page already.
    """

    def __init__(self, state: RunState) -> None:
        super().__init__(logging.INFO)
        self._state = state

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or not record.name.startswith(__package__)

    def emit(self, record: logging.LogRecord) -> None:
        levels = {logging.INFO: "info", logging.WARNING: "warning"}
        self._state.line(
            Line(record.created, levels.get(record.levelno, "error"), record.getMessage())
        )


@contextlib.contextmanager
def recorded(path: Path) -> Iterator[None]:
    """Write what is logged inside to a file too, as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(JsonFormatter())
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def configure_logs(stream: TextIO, terminal: bool) -> None:
    """Send every record to `stream`, ours from INFO on and everybody else's from WARNING on.

    Called again, it replaces what it set up before. Python's own warnings become records, too.
    """
    handler = TerminalHandler(stream) if terminal else logging.StreamHandler(stream)
    handler.setFormatter(PersonFormatter() if terminal else JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    for name in THEIRS:
        logging.getLogger(name).setLevel(logging.WARNING)

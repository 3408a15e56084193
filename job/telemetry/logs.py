"""The log: JSON lines in a container, short lines above the progress on a terminal.

Rooms log through `logging.getLogger(__name__)` and give structured values as `extra={"fields":
{...}}`.
"""

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from job import console, supervision
from job.telemetry.events import LineLogged, LogLevel
from job.telemetry.live import to_json_value
from job.telemetry.run_state import RunState

OURS = ("job", "__main__")
# They set their own level, so the root's does not hold for them.
THEIRS = ("absl", "tensorflow")


# Of the run that this process works on. The log belongs to the process, and so does this.
_run_fields: dict[str, str] = {}


class JsonFormatter(logging.Formatter):
    """One line of strict JSON per record.

    Its keys are ts (ISO 8601, UTC), level, logger, message, time, severity and, where there are
    any, model, run_id, fields and exception.
    """

    def format(self, record: logging.LogRecord) -> str:
        entry = supervision.make_record(
            record.created, record.levelname.lower(), record.name, record.getMessage()
        )
        entry |= _run_fields
        if fields := getattr(record, "fields", None):
            entry["fields"] = to_json_value(fields)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return supervision.format_record(entry)


class PersonFormatter(logging.Formatter):
    """`12:03:11  message`, with the level's name where it matters."""

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        text = f"{clock}  {level}{record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class TerminalHandler(logging.StreamHandler[TextIO]):
    """Writes above the progress, which would be torn otherwise.

    It leaves out what the progress shows itself, such as each epoch.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(record, "in_progress", False)

    def emit(self, record: logging.LogRecord) -> None:
        from rich.text import Text

        from job.telemetry.bar import open_console

        style = "bold red" if record.levelno >= logging.ERROR else "yellow"
        text = Text(console.escape(self.format(record)))
        if record.levelno >= logging.WARNING:
            text.stylize(style, 0, len(text.plain.partition("\n")[0]))
        try:
            # Not wrapped here: a line that is copied or searched for stays one line.
            open_console(self.stream).print(text, soft_wrap=True)
        except (OSError, ValueError):
            self.handleError(record)


class RunStateHandler(logging.Handler):
    """Shows messages on the live page, without fields and tracebacks, which may name local paths.

    The page itself shows phases and progress.
    """

    def __init__(self, state: RunState) -> None:
        super().__init__(logging.INFO)
        self._state = state

    def filter(self, record: logging.LogRecord) -> bool:
        of_a_phase = "event" in getattr(record, "fields", {})
        shown = of_a_phase or getattr(record, "in_progress", False)
        return record.levelno >= logging.WARNING or not shown

    def emit(self, record: logging.LogRecord) -> None:
        levels: dict[int, LogLevel] = {logging.INFO: "info", logging.WARNING: "warning"}
        level = levels.get(record.levelno, "error")
        self._state.apply(LineLogged(record.created, level, record.getMessage()))


def name_run(**fields: str) -> None:
    """Put the model's name and the run id, as far as they are known, on every line from here on."""
    _run_fields.clear()
    _run_fields.update(fields)


@contextlib.contextmanager
def record_log(path: Path) -> Iterator[None]:
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
    name_run()
    handler = TerminalHandler(stream) if terminal else logging.StreamHandler(stream)
    handler.setFormatter(PersonFormatter() if terminal else JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    for name in THEIRS:
        logging.getLogger(name).setLevel(logging.WARNING)

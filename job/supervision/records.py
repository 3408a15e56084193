"""What a line of the log is, and which lines of native code explain something."""

import json
import re
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime

LINES_KEPT = 12
CHATTER = re.compile(
    r"\s*$|WARNING: All log messages before absl|I\d{4} \d\d:\d\d:\d+|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: I "
)
"""What Google's native loggers say at level INFO, which explains no failure."""


def record_of(created: float, level: str, logger: str, message: str) -> dict[str, object]:
    """What every line of the log has: ts (ISO 8601, UTC), level, logger, message."""
    moment = datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds")
    return {"ts": moment, "level": level, "logger": logger, "message": message}


def line_of(record: dict[str, object]) -> str:
    """A record as one line of strict JSON that has an encoding, whatever file names are in it."""
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace").decode("utf-8")


def explaining(lines: Iterable[str]) -> tuple[str, ...]:
    """The last of the lines that may explain a failure."""
    return tuple(deque((line for line in lines if not CHATTER.match(line)), LINES_KEPT))

"""What a line of the log is, and which lines of native code explain something."""

import json
import re
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime

# How many of the last lines are kept to explain a failure.
LINES_KEPT = 12
# What Google's native loggers write at level INFO, which explains no failure.
CHATTER = re.compile(
    r"\s*$"
    r"|WARNING: All log messages before absl"
    r"|I\d{4} \d\d:\d\d:\d+"
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: I "
)


def make_record(created: float, level: str, logger: str, message: str) -> dict[str, object]:
    """What every line of the log has: ts (ISO 8601, UTC), level, logger, message.

    `time` and `severity` say the same as `ts` and `level`, under the names that Google Cloud
    Logging reads. Without a severity it takes every line of stderr for an error.
    """
    moment = datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds")
    return {
        "ts": moment,
        "level": level,
        "logger": logger,
        "message": message,
        "time": moment,
        "severity": level.upper(),
    }


def format_record(record: dict[str, object]) -> str:
    """A record as one line of strict JSON.

    Parts of file names that no encoding has become question marks.
    """
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace").decode("utf-8")


def last_explanations(lines: Iterable[str]) -> tuple[str, ...]:
    """The last of the lines that may explain a failure."""
    explanations: deque[str] = deque(maxlen=LINES_KEPT)
    for line in lines:
        if not CHATTER.match(line):
            explanations.append(line)
    return tuple(explanations)

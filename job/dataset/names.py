"""Names that strangers chose, and long lists of them, made fit for a message."""

import re
from collections.abc import Sequence

# Control characters and lone surrogates: they break log lines, pages and UTF-8.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(name: str) -> str:
    """The name on one line, with control characters and undecodable bytes as escapes."""
    return UNPRINTABLE.sub(lambda match: match.group().encode("unicode_escape").decode(), name)


def first_names(names: Sequence[str], limit: int = 5) -> tuple[str, ...]:
    """The first names, and how many more there are."""
    shown = tuple(printable(name) for name in names[:limit])
    if len(names) <= limit:
        return shown
    return (*shown, f"and {len(names) - limit:,} more")

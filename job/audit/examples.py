"""One image of a split."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One image that takes part."""

    path: Path
    name: str
    # An index into the classes.
    label: int
    sha256: str
    # One of `images.FORMATS`.
    format: str
    group: str | None = None

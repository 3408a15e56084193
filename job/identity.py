"""Who this run is: a digest of what shapes the model, of the data's content and of the code."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


def resolve(shaping: Mapping[str, Any], data_digest: str) -> str:
    """The run id, 16 hex digits: equal for a replaced pod, another for anything that could change the model."""
    return digest({"settings": shaping, "data": data_digest, "code": code()})[:16]


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in its one canonical form, as 64 hex digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@cache
def code() -> str:
    """SHA-256 over the sources of this package, as 64 hex digits."""
    package = Path(__file__).parent
    sources = sorted(path for path in package.rglob("*") if path.suffix in {".py", ".json", ".html", ".md"})
    return digest([(str(path.relative_to(package)), hashlib.sha256(path.read_bytes()).hexdigest()) for path in sources])

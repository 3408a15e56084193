"""Who this run is: a digest of what shapes the model, of the data's content and of the code."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def resolve(shaping: Mapping[str, Any], data_digest: str) -> str:
    """The run id, 16 hex digits: equal for a replaced pod, another for anything that could change the model."""
    return digest({"settings": shaping, "data": data_digest, "code": code()})[:16]


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in its one canonical form, as 64 hex digits."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


@cache
def code() -> str:
    """SHA-256 over the files of this package and the versions of what computes, as 64 hex digits."""
    package = Path(__file__).parent
    files = sorted(path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc")
    content = [
        (str(path.relative_to(package)), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in files
    ]
    return digest({"files": content, "versions": sorted(set(_versions()))})


def _versions() -> Iterator[str]:
    """Of TensorFlow, which goes by several names, and of Keras: without importing them."""
    for name in ("tensorflow", "tensorflow-cpu", "keras"):
        with contextlib.suppress(PackageNotFoundError):
            yield version(name)

"""The identity of a run: a digest of what shapes the model, of the data and of the code."""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def make_run_id(shaping: Mapping[str, Any], data_digest: str) -> str:
    """Return the run id as 16 hex digits.

    A replaced pod gets the same one. Anything that could change the model gives another one.

    Args:
        shaping: the settings that shape the model, by variable name.
        data_digest: of the content of the dataset.
    """
    return digest({"settings": shaping, "data": data_digest, "code": digest_code()})[:16]


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value in its one canonical form, as 64 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def digest_code() -> str:
    """Return the SHA-256 of this package's files and the versions of TensorFlow and Keras."""
    package = Path(__file__).parent
    content = []
    for path in sorted(package.rglob("*")):
        # Python writes byte code beside the sources, at any time.
        if path.is_file() and path.suffix != ".pyc":
            file_digest = hashlib.sha256(path.read_bytes()).hexdigest()
            content.append((str(path.relative_to(package)), file_digest))

    # Read from the metadata, since importing TensorFlow takes seconds. Its CPU build has a name of
    # its own, and counts as the same.
    versions = set()
    for name in ("tensorflow", "tensorflow-cpu", "keras"):
        with contextlib.suppress(PackageNotFoundError):
            versions.add(version(name))
    return digest({"files": content, "versions": sorted(versions)})

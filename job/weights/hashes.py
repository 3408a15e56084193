"""The two digests that weights are published with, in one pass over the file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Hashes:
    """Both digests of one file, as hexadecimal digits."""

    sha256: str
    md5: str

    @classmethod
    def of(cls, path: Path) -> "Hashes":
        # Keras publishes MD5 digests. They prove that a download is intact, not who made it.
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                sha256.update(block)
                md5.update(block)
        return cls(sha256.hexdigest(), md5.hexdigest())

"""The checksums of content that an S3 server sends, and the comparison with what arrives."""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from job.storage.digests import Algorithm, new_digest
from job.storage.store import Checksum, ContentDamaged

# The other algorithms of S3 need a library of their own.
COMPUTABLE: tuple[Algorithm, ...] = ("sha256", "sha1", "crc32")


class ContentCheck:
    """The comparison of content, piece by piece, with the checksum in the answer that sends it.

    Args:
        answer: of `get_object`, from the first byte on.
        etag: of the version that is expected, or nothing.
    """

    def __init__(self, answer: Mapping[str, Any], etag: str) -> None:
        # A server that ignores the condition may send another version.
        is_expected = etag in ("", str(answer.get("ETag", "")).strip('"'))
        self._promised = find_checksum(answer) if is_expected else None
        self._digest = new_digest(self._promised.algorithm) if self._promised else None

    def update(self, piece: bytes) -> None:
        if self._digest:
            self._digest.update(piece)

    def finish(self, address: str) -> bool:
        """Whether there was a checksum to compare with.

        Raises:
            ContentDamaged: the content has another one.
        """
        if not self._promised or not self._digest:
            return False
        if self._digest.hexdigest() != self._promised.hexadecimal:
            raise ContentDamaged(
                f"{address} arrived with another checksum ({self._promised.algorithm}) than the "
                "store sent with it.",
                "Try again. If it fails again, the object is damaged in the store.",
            )
        return True


def find_checksum(answer: Mapping[str, Any]) -> Checksum | None:
    """The checksum of the whole content in an answer that this job can compute, if any."""
    if answer.get("ChecksumType") == "COMPOSITE":
        return None
    for algorithm in COMPUTABLE:
        value = answer.get(f"Checksum{algorithm.upper()}", "-")
        if "-" not in value:
            return Checksum(algorithm, b64decode(value).hex())
    return None

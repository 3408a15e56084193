"""What every store can do, and the operations that both kinds do in the same way."""

import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from job.errors import SettingsError, StoreConflict, StoreUnavailable
from job.storage.digests import Algorithm

PROBE = ".graft-probe-"
# After so long nobody is probing, whatever the clocks of two machines say.
PROBE_SECONDS = 24 * 3600
# So often may a small object change while it is read.
CHANGES = 5


@dataclass(frozen=True, slots=True)
class Entry:
    """One object, as a listing shows it.

    Attributes:
        key: name relative to the store's root, an opaque string. It may contain `..` or `//` and
            must never become a local path.
        size: bytes.
        etag: version of the content, without quotes. In a folder, and for most objects of one part,
            the content's MD5.
        modified: seconds since the epoch.
    """

    key: str
    size: int
    etag: str
    modified: float


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a store knows about the whole of an object's content."""

    algorithm: Algorithm
    hexadecimal: str


class ContentDamaged(StoreUnavailable):
    """What arrived does not have the checksum that the store sent with it."""


class Store(ABC):
    """A root in a bucket, or a folder, and everything below it. Safe to share between threads.

    Every failure is raised as one of these, with its cause chained:

    - `StoreNotFound`: no such bucket, folder or object.
    - `StoreForbidden`: the credentials or the file's mode do not allow it, or the key leads out of
      the root.
    - `StoreConflict`: a condition did not hold.
    - `StoreUnavailable`: away, slow, over its rate, or an answer that was cut short, after several
      attempts.
    - `SettingsError`: it can never work as it is set up.
    """

    @property
    @abstractmethod
    def uri(self) -> str:
        """The root's address, without a slash at the end."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[Entry]:
        """The objects below the folder `prefix`, lazily, ordered by the UTF-8 bytes of their keys.

        `list("cats")` sees `cats/1.jpg`, not `cats-old/1.jpg` and not the object `cats`. The empty
        objects ending in a slash, which consoles use as folders, are left out. A prefix without
        objects gives none.

        Raises:
            StoreNotFound: the bucket does not exist, or the folder that was connected to.
        """

    @abstractmethod
    def head(self, key: str) -> Entry | None:
        """The object's entry, or None where there is none.

        A missing bucket may give None too, because an answer to HEAD does not say which is missing.
        """

    @abstractmethod
    def stream(
        self, key: str, start: int = 0, etag: str = ""
    ) -> Generator[bytes, None, bool | None]:
        """The content from byte `start` on, in pieces that fit in memory.

        An answer that breaks off is continued where it broke.

        Returns (at the end):
            Whether the pieces are the whole content and had the checksum that the store sent.

        Raises (at the first piece):
            StoreConflict: `etag` is given and the object has another one.

        Raises (after the last piece):
            ContentDamaged: the content has not the checksum that the store sent.
        """

    @abstractmethod
    def write(self, key: str, data: bytes) -> str:
        """Write `data` to `key`, whole or not at all. Returns the new ETag."""

    @abstractmethod
    def upload(self, key: str, path: Path) -> None:
        """Write a local file to `key`, whole or not at all, in several parts where it is large."""

    @abstractmethod
    def write_if(self, key: str, data: bytes, etag: str | None) -> str:
        """Write `data` to `key` only if the object still has `etag`, and return the new ETag.

        `etag` None means: only if there is no object. Of any number of writers with one condition,
        in any number of processes, exactly one succeeds.

        Raises:
            StoreConflict: the condition does not hold.
        """

    @abstractmethod
    def copy(self, source: str, target: str) -> None:
        """Copy an object inside the store, whole or not at all.

        Raises:
            StoreNotFound: there is no `source`.
        """

    def copy_folder(self, source: str, target: str, names: Sequence[str]) -> None:
        """Copy files of the folder `source` into the folder `target`, in the order of `names`.

        A folder on a disk appears when all of them are there. In a bucket each file appears when
        it is copied, so the last name tells readers that the others are there.

        Raises:
            StoreNotFound: one of them is missing.
        """
        for name in names:
            self.copy(f"{source}/{name}", f"{target}/{name}")

    @abstractmethod
    def delete(self, prefix: str = "") -> int:
        """Delete everything below the folder `prefix`, and the object of exactly that name.

        Returns how many objects were deleted.
        """

    @abstractmethod
    def child(self, suffix: str) -> "Store":
        """The store whose root is the folder `suffix` of this one."""

    @abstractmethod
    def checksum(self, key: str) -> Checksum | None:
        """A checksum of the content that the store knows and this job can compute, if any."""

    def sweep(self) -> int:
        """Remove what killed writers have left and no process writes. Returns how many files.

        An S3 server keeps the parts of an upload that was cut off out of sight: a lifecycle rule
        of the bucket removes them.
        """
        return 0

    def read(self, key: str, most: int | None = None, etag: str = "") -> bytes:
        """The whole content, in memory: for small objects.

        If it changes while an answer that broke off is continued, it is read again.

        Args:
            key: of the object.
            most: bytes that are wanted. Reading ends once they are there.
            etag: of the version that is wanted. Empty for whatever is there.

        Raises:
            StoreConflict: `etag` is given and the object has another one.
        """
        for _ in range(CHANGES):
            content = bytearray()
            try:
                for part in self.stream(key, etag=etag):
                    content += part
                    if most is not None and len(content) >= most:
                        break
                return bytes(content)
            except StoreConflict:
                if etag:
                    raise
        raise StoreUnavailable(
            f"{self.uri}/{key} changed {CHANGES} times while it was read.",
            "Try again when other runs have ended.",
        )

    def probe(self) -> None:
        """Prove at the start of a run that it can end: list, write, write conditionally, delete.

        Nothing stays behind but the folder itself where there was none, and old versions in a
        bucket that keeps them.

        Raises:
            SettingsError: the store ignores conditions on writes, so that two runs could overwrite
                each other.
        """
        self._sweep_probes()
        key = f"{PROBE}{uuid4().hex}"
        self.write_if(key, b"first", None)
        try:
            self._require_refusal(key, None, "If-None-Match")
            self._require_refusal(key, "0" * 32, "If-Match")
        finally:
            self.delete(key)

    def _sweep_probes(self) -> None:
        """Delete what runs have left that were killed during their probe."""
        for entry in self.list():
            if entry.key.startswith(PROBE):
                if time.time() - entry.modified > PROBE_SECONDS:
                    self.delete(entry.key)
            elif entry.key > PROBE:
                break

    def _require_refusal(self, key: str, etag: str | None, header: str) -> None:
        """Raise unless the store refuses a write whose condition does not hold."""
        try:
            self.write_if(key, b"second", etag)
        except StoreConflict:
            return
        raise SettingsError(
            f"The store at {self.uri} ignores {header}: it overwrote an object under a condition "
            "that did not hold. Expected a refusal (412), since that is what keeps two runs from "
            "promoting over each other.",
            "Update the S3 server to a version with conditional writes, or use another store for "
            "the output.",
        )

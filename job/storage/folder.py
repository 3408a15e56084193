"""A folder as a store: the same words with the same guarantees, on a file system with hard links and flock."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

from job.errors import StoreConflict, StoreForbidden, StoreNotFound
from job.storage import atomic, walk
from job.storage.digests import PIECE_BYTES, digest
from job.storage.folder_errors import translated
from job.storage.store import Checksum, Entry, Store


class FolderStore(Store):
    """Files below a folder; a key is a path with `/`.

    The ETag is the content's MD5: a listing reads every file, and equals that of the same files in
    S3. The folder that was connected to stands for the bucket: to list it must be there, to write
    it is made.

    Keys that cannot be paths inside the folder (`..`, `//`, a leading `/`) are refused, and so is a
    link that leads out of it. A listing does not follow a link to a folder inside, and the log
    names it: its files have a key already.
    """

    def __init__(self, root: Path, base: Path | None = None) -> None:
        self._root = Path(os.path.realpath(root))
        self._base = base or self._root

    @property
    def uri(self) -> str:
        return self._root.as_uri()

    def list(self, prefix: str = "") -> Iterator[Entry]:
        if not self._base.is_dir():
            raise StoreNotFound(
                f"There is no folder {self._base}.",
                "Check the URI, and that the volume is mounted.",
            )
        with translated(self.uri):
            for path in walk.files(self._folder(prefix), self._base):
                if entry := self._entry(path):
                    yield entry

    def head(self, key: str) -> Entry | None:
        with translated(self._address(key)):
            return self._entry(self._path(key)) if key else None

    def stream(self, key: str, start: int = 0, etag: str = "") -> Iterator[bytes]:
        with translated(self._address(key)), self._path(key).open("rb") as file:
            if etag and digest(file, "md5") != etag:
                raise self._conflict(key)
            file.seek(start)
            while piece := file.read(PIECE_BYTES):
                yield piece

    def write(self, key: str, data: bytes) -> str:
        with translated(self._address(key)):
            atomic.put(self._path(key).resolve(), io.BytesIO(data))
        return digest(io.BytesIO(data), "md5")

    def upload(self, key: str, path: Path) -> None:
        with path.open("rb") as source, translated(self._address(key)):
            atomic.put(self._path(key).resolve(), source)

    def write_if(self, key: str, data: bytes, etag: str | None) -> str:
        with translated(self._address(key)):
            target, source = self._path(key).resolve(), io.BytesIO(data)
            won = (
                atomic.create(target, source)
                if etag is None
                else atomic.replace(target, source, etag)
            )
        if not won:
            raise self._conflict(key)
        return digest(source, "md5")

    def delete(self, prefix: str = "") -> int:
        top = self._folder(prefix)
        with translated(self._address(prefix)):
            return walk.delete(top, keep=self._base)

    def child(self, suffix: str) -> "FolderStore":
        return FolderStore(self._folder(suffix), self._base)

    def checksum(self, key: str) -> Checksum | None:
        entry = self.head(key)
        return Checksum("md5", entry.etag) if entry else None

    def probe(self) -> None:
        with translated(self.uri):
            atomic.make_folder(self._root)
        super().probe()

    def _address(self, key: str) -> str:
        return f"{self.uri}/{key}"

    def _folder(self, prefix: str) -> Path:
        prefix = prefix.rstrip("/")
        return self._path(prefix) if prefix else self._root

    def _path(self, key: str) -> Path:
        """The file of `key`, proved to lie inside the folder."""
        path = self._root / key
        proper = "\0" not in key and not {"", ".", ".."} & set(key.split("/"))
        if proper and Path(os.path.realpath(path)).is_relative_to(self._base):
            return path
        raise StoreForbidden(
            f"Received the key {key!r}; expected one that names a file inside {self._root}.",
            "Use keys without `..`, `//` and a slash in front, and no link that leads out of the folder.",
        )

    def _entry(self, path: Path) -> Entry | None:
        """The file's entry, size and ETag of one and the same content; None where there is no file."""
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                return Entry(
                    path.relative_to(self._root).as_posix(),
                    status.st_size,
                    digest(file, "md5"),
                    status.st_mtime,
                )
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def _conflict(self, key: str) -> StoreConflict:
        return StoreConflict(
            f"{self._address(key)} is not what it was expected to be: another writer came first."
        )

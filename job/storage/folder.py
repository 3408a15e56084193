"""A folder as a store, on a file system with hard links and flock, with the guarantees of S3."""

import io
import os
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from job.errors import StoreConflict, StoreForbidden, StoreNotFound
from job.files import make_folder, sweep_partials
from job.storage import atomic, walk
from job.storage.digests import PIECE_BYTES, compute_checksum
from job.storage.folder_errors import translate_errors
from job.storage.staging import fill_folder, sweep_staged
from job.storage.store import Checksum, Entry, Store


class FolderStore(Store):
    """Files below a folder. A key is a path with `/`.

    The ETag is the MD5 of the content: a listing reads every file, and equals that of the same
    files in S3. The folder that was connected to plays the part of the bucket: to list, it must
    exist. To write, it is made.

    Keys that cannot be paths inside the folder (`..`, `//`, a leading `/`) are refused, and so is a
    link that leads out of it. A listing does not follow a link to a folder inside, since the files
    there have a key already. The log names such a link.
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
        with translate_errors(self.uri):
            for path in walk.list_files(self._resolve_prefix(prefix), self._base):
                if entry := self._read_entry(path):
                    yield entry

    def head(self, key: str) -> Entry | None:
        if not key:
            return None
        with translate_errors(self._address_of(key)):
            return self._read_entry(self._resolve_key(key))

    def stream(
        self, key: str, start: int = 0, etag: str = ""
    ) -> Generator[bytes, None, bool | None]:
        with translate_errors(self._address_of(key)), self._resolve_key(key).open("rb") as file:
            if etag and compute_checksum(file, "md5") != etag:
                raise self._conflict_at(key)
            file.seek(start)
            while piece := file.read(PIECE_BYTES):
                yield piece
        return False

    def sweep(self) -> int:
        return sweep_partials(self._root) + sweep_staged(self._root)

    def write(self, key: str, data: bytes) -> str:
        source = io.BytesIO(data)
        with translate_errors(self._address_of(key)):
            atomic.put(self._resolve_key(key).resolve(), source)
        return compute_checksum(source, "md5")

    def upload(self, key: str, path: Path) -> None:
        with path.open("rb") as source, translate_errors(self._address_of(key)):
            atomic.put(self._resolve_key(key).resolve(), source)

    def write_if(self, key: str, data: bytes, etag: str | None) -> str:
        source = io.BytesIO(data)
        with translate_errors(self._address_of(key)):
            target = self._resolve_key(key).resolve()
            if etag is None:
                was_written = atomic.create(target, source)
            else:
                was_written = atomic.replace(target, source, etag)
        if not was_written:
            raise self._conflict_at(key)
        return compute_checksum(source, "md5")

    def copy(self, source: str, target: str) -> None:
        with translate_errors(self._address_of(source)):
            self._copy_file(source, self._resolve_key(target).resolve())

    def copy_folder(self, source: str, target: str, names: Sequence[str]) -> None:
        goal = self._resolve_key(target).resolve()
        with translate_errors(self._address_of(source)), fill_folder(goal) as folder:
            for name in names:
                self._copy_file(f"{source}/{name}", folder / name)

    def delete(self, prefix: str = "") -> int:
        top = self._resolve_prefix(prefix)
        with translate_errors(self._address_of(prefix)):
            return walk.delete_tree(top, keep=self._base)

    def child(self, suffix: str) -> "FolderStore":
        return FolderStore(self._resolve_prefix(suffix), self._base)

    def checksum(self, key: str) -> Checksum | None:
        entry = self.head(key)
        return Checksum("md5", entry.etag) if entry else None

    def probe(self) -> None:
        with translate_errors(self.uri):
            make_folder(self._root)
        super().probe()

    def _copy_file(self, key: str, path: Path) -> None:
        with self._resolve_key(key).open("rb") as source:
            atomic.put(path, source)

    def _address_of(self, key: str) -> str:
        return f"{self.uri}/{key}"

    def _resolve_prefix(self, prefix: str) -> Path:
        prefix = prefix.rstrip("/")
        return self._resolve_key(prefix) if prefix else self._root

    def _resolve_key(self, key: str) -> Path:
        """The file of `key`, proved to be inside the folder."""
        path = self._root / key
        is_proper = "\0" not in key and not {"", ".", ".."} & set(key.split("/"))
        if is_proper and Path(os.path.realpath(path)).is_relative_to(self._base):
            return path
        raise StoreForbidden(
            f"Received the key {key!r}; expected one that names a file inside {self._root}.",
            "Use keys without `..`, `//` and a leading slash, and no link that leads out of it.",
        )

    def _read_entry(self, path: Path) -> Entry | None:
        """The entry of a file, or None where there is no file."""
        try:
            with path.open("rb") as file:
                # Size and ETag come from one open file, so they belong to one content.
                status = os.fstat(file.fileno())
                etag = compute_checksum(file, "md5")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        key = path.relative_to(self._root).as_posix()
        return Entry(key, status.st_size, etag, status.st_mtime)

    def _conflict_at(self, key: str) -> StoreConflict:
        return StoreConflict(
            f"{self._address_of(key)} is not what it was expected to be: another writer came first."
        )

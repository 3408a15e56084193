"""One row per image, such as its features, is computed once and kept on disk.

Rows are kept by the content of the image. A data set with a few new images costs the rows of these
images alone.

    <folder>/<its images>.npy    one shard: an array [n, ...]
             <its images>.txt    their SHA-256, one in a line, and that of the shard last

A shard counts once its list of images is there, which is written last. Whether its bytes are still
those that were written is asked once, before rows of it are used.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from job.errors import SettingsError
from job.files import sha256, write_whole

logger = logging.getLogger(__name__)

# Before the SHA-256 of a shard, in the last line of its list. An earlier version takes that for an
# image which nobody asks for.
SHARD = "shard:"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRows:
    """Rows of images, read from the disk where they are needed.

    Attributes:
        shards: read-only memory maps [n, ...].
        shard: which shard has each image, int [images].
        row: in which row of it, int [images].
        dtype: of the rows.
    """

    shards: tuple[np.ndarray, ...]
    shard: np.ndarray
    row: np.ndarray
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Images first: (images, ...)."""
        return (len(self.row), *self.shards[0].shape[1:])

    def __len__(self) -> int:
        return len(self.row)

    def select(self, places: slice) -> "KeptRows":
        """Select a part of the images, and read nothing."""
        return replace(self, shard=self.shard[places], row=self.row[places])

    def __getitem__(self, places: np.ndarray | slice) -> np.ndarray:
        """Read the rows of some images into memory: [len(places), ...]."""
        shards = self.shard[places]
        rows = self.row[places]
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for number in np.unique(shards):
            chosen = shards == number
            # NumPy's format has no name for bfloat16: the file holds its bytes as raw data.
            found[chosen] = self.shards[number][rows[chosen]].view(self.dtype)
        return found


@dataclass(frozen=True, slots=True)
class RowStore:
    """The rows of one kind: everything but the image that decides their bytes names the folder.

    Attributes:
        folder: of the shards.
        shape: of the row of one image.
        dtype: of the rows.
    """

    folder: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        """Size of one row."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def find_missing(self, images: Sequence[str]) -> list[int]:
        """Find the first place of each image whose row is not kept yet.

        Shards of these images whose bytes have changed on the disk are removed before.

        Args:
            images: their SHA-256, or other names without a blank, such as those of their views.
        """
        # The time of the folder says when its rows were used last. It need not exist, and it may
        # belong to another user.
        with suppress(OSError):
            os.utime(self.folder)
        self._remove_damaged(images)
        kept = self._read_index()
        # A dictionary instead of a set: it keeps the order of the images.
        missing: dict[str, int] = {}
        for place, image in enumerate(images):
            if image not in kept:
                missing.setdefault(image, place)
        return list(missing.values())

    def write_shard(self, images: Sequence[str], batches: Iterable[np.ndarray]) -> Iterator[int]:
        """Keep the rows of new images. Yields how many are done.

        Args:
            images: their SHA-256.
            batches: their rows [batch, ...], in the same order.

        Raises:
            SettingsError: the folder cannot be written, or the disk is full.
        """
        listing = "\n".join(images)
        path = self.folder / f"{hashlib.sha256(listing.encode()).hexdigest()}.npy"
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (len(images), *self.shape),
        }
        with _open_partial(path) as file:
            # Not through a memory map: on a full disk that is a SIGBUS, which nothing can report.
            np.lib.format.write_array_header_1_0(file, header)
            done = 0
            for rows in batches:
                file.write(rows.tobytes())
                done += len(rows)
                yield done
        with _open_partial(path.with_suffix(".txt")) as file:
            file.write(f"{listing}\n{SHARD}{sha256(path)}".encode())

    def open_rows(self, images: Sequence[str]) -> KeptRows:
        """Open the rows of images that are all kept, one for each of at least one image.

        Args:
            images: their SHA-256.
        """
        kept = self._read_index()
        numbers: dict[Path, int] = {}
        shards: list[int] = []
        rows: list[int] = []
        for image in images:
            path, row = kept[image]
            shards.append(numbers.setdefault(path, len(numbers)))
            rows.append(row)
        maps = [np.load(path, mmap_mode="r") for path in numbers]
        return KeptRows(
            shards=tuple(maps),
            shard=np.array(shards),
            row=np.array(rows),
            dtype=self.dtype,
        )

    def _read_index(self) -> dict[str, tuple[Path, int]]:
        """The shard and the row of each image that is kept, by its SHA-256."""
        index: dict[str, tuple[Path, int]] = {}
        for shard, images, _ in self._list_shards():
            for row, image in enumerate(images):
                # Two runs at once may have computed the same image: either row is right.
                index.setdefault(image, (shard, row))
        return index

    def _remove_damaged(self, images: Sequence[str]) -> None:
        """Remove shards that hold rows of these images and are not what was written."""
        wanted = set(images)
        for shard, members, written in self._list_shards():
            if not written or wanted.isdisjoint(members) or _is_intact(shard, written):
                continue
            logger.warning(
                "%s was damaged on this disk: its %d rows are computed again. Look at the disk.",
                shard,
                len(members),
            )
            shard.with_suffix(".txt").unlink(missing_ok=True)
            shard.unlink(missing_ok=True)

    def _list_shards(self) -> Iterator[tuple[Path, list[str], str]]:
        """The path of each shard, its images, and the SHA-256 that it was written with."""
        for listing in sorted(self.folder.glob("*.txt")):
            try:
                images, written = _read_listing(listing)
            except FileNotFoundError:
                continue  # another run on this cache has just removed the damaged shard
            yield listing.with_suffix(".npy"), images, written


def _is_intact(shard: Path, written: str) -> bool:
    try:
        return sha256(shard) == written
    except FileNotFoundError:
        return False


def _read_listing(path: Path) -> tuple[list[str], str]:
    """The images of a shard, and its SHA-256. That is empty in a list of an earlier version."""
    images = path.read_text().split()
    if images[-1:] and images[-1].startswith(SHARD):
        return images[:-1], images[-1].removeprefix(SHARD)
    return images, ""


@contextmanager
def _open_partial(path: Path) -> Iterator[IO[bytes]]:
    """A file beside `path` that takes its name once it is complete."""
    try:
        with write_whole(path) as file:
            yield file
    except OSError as error:
        raise SettingsError(
            f"What was computed of images cannot be kept in {path.parent}: {error.strerror}.",
            "Give GRAFT_CACHE_DIR a larger volume that the job may write to, or empty it.",
        ) from error

"""One row per image, such as its features, is computed once and kept on disk.

Rows are kept by the content of the image. A data set with a few new images costs the rows of these
images alone.

    <folder>/<its images>.npy    one shard: an array [n, ...]
             <its images>.txt    their SHA-256, one in a line

A shard counts once its list of images is there, which is written last.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from job.errors import SettingsError
from job.files import write_whole


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

    def find_missing(self, images: Sequence[str]) -> list[int]:
        """Find the first place of each image whose row is not kept yet.

        Args:
            images: their SHA-256.
        """
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
            file.write(listing.encode())

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
        for listing in sorted(self.folder.glob("*.txt")):
            shard = listing.with_suffix(".npy")
            for row, image in enumerate(listing.read_text().split()):
                # Two runs at once may have computed the same image: either row is right.
                index.setdefault(image, (shard, row))
        return index


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

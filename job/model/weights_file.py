"""What an HDF5 file of weights holds, looked at before one tensor of it is read.

A file is foreign data. A kilobyte of it can claim gigabytes, and a link of it can lead elsewhere.
So the shape, the type and the storage of each tensor are compared with the network first. What is
read after that is never larger than the network.
"""

import math
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

# What h5py, HDF5 and the decompressors raise when a file is damaged or not what it claims.
READ_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    RuntimeError,
    OverflowError,
    EOFError,
    zlib.error,
)
# Groups in groups. Keras's own files of nested models have about ten.
DEEPEST_GROUP = 64
# Groups and tensors. The largest backbone has 1,400 tensors in 700 layers.
MOST_ITEMS = 100_000
# Real numbers. HDF5 has no bfloat16: there Keras notes it beside two opaque bytes.
NUMBER_KINDS = "fiu"
# How much larger than its tensor a chunk may be. HDF5 reads chunks whole.
CHUNK_SLACK_BYTES = 1 << 20
# Numbers in the state of a random generator, and more.
LARGEST_STATE = 1_024
DEFLATE = h5py.h5z.FILTER_DEFLATE
# The filters of gzip: compression, the order of the bytes before it, and a checksum of 4 bytes.
KNOWN_FILTERS = {DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
CHECKSUM_BYTES = 4


class UnsafeFile(ValueError):
    """The file holds something that is not read, whatever network it is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFileContents:
    """What an HDF5 file of weights holds, without optimizer and random state.

    Attributes:
        shapes: of its tensors, by their path in the file.
        others: shapes of the optimizer's and the random generators' tensors.
        listed: how many tensors a file of the older format lists. None in other files.
        compressed: paths of tensors that are stored compressed.
    """

    shapes: dict[str, tuple[int, ...]]
    others: dict[str, tuple[int, ...]]
    listed: int | None
    compressed: tuple[str, ...]

    @property
    def tensors(self) -> int:
        return len(self.shapes)

    @property
    def parameters(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def legacy(self) -> bool:
        """Whether the file is of Keras's older format, which is read by order."""
        return self.listed is not None

    @classmethod
    def read(cls, file: Path) -> "WeightsFileContents":
        """Look at everything that a file holds. No tensor is read.

        Raises:
            UnsafeFile: it holds links, or tensors that are not plain numbers in this file.
            One of READ_ERRORS: it is not an HDF5 file, or damaged.
        """
        shapes = {}
        others = {}
        compressed = []
        with h5py.File(file, "r") as opened:
            for path, tensor in _walk_tensors(opened):
                _require_plain_numbers(path, tensor)
                if path.startswith("optimizer") or "seed_generator" in path:
                    others[path] = tensor.shape
                else:
                    shapes[path] = tensor.shape
                if DEFLATE in _list_filters(tensor):
                    compressed.append(path)
            listed = _count_listed(opened)
        return cls(shapes=shapes, others=others, listed=listed, compressed=tuple(compressed))

    def find_difference(self, expected: Sequence[tuple[int, ...]]) -> str:
        """In what the file differs from the shapes of a network's variables. Empty: in nothing.

        Files of the older format may hold more tensors than they list.
        """
        allowed = Counter(expected)
        received = Counter(self.shapes.values())
        for path, shape in self.shapes.items():
            if shape not in allowed:
                return f"The tensor {path} has the shape {shape}, which no variable has."
        # A file of the older format can list these as weights too.
        largest = max(map(math.prod, expected), default=0)
        for path, shape in self.others.items():
            if math.prod(shape) > max(largest, LARGEST_STATE):
                return f"The tensor {path} has the shape {shape}, larger than any variable."
        if self.listed is not None and self.listed != len(expected):
            return f"It lists {self.listed} tensors."
        for shape, count in allowed.items():
            if not self.legacy and received[shape] != count:
                return f"{received[shape]} of its tensors have the shape {shape}, expected {count}."
        return ""


def check_compressed(file: Path, contents: WeightsFileContents) -> None:
    """Decompress each compressed tensor into no more than its size.

    HDF5 itself decompresses a chunk whole, and its size in the file does not bound that.

    Raises:
        UnsafeFile: a chunk decompresses into more than it may hold.
        One of READ_ERRORS: the file is damaged.
    """
    with h5py.File(file, "r") as opened:
        for path in contents.compressed:
            _check_chunks(path, opened[path])


def _walk_tensors(opened: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """The tensors of a file with their paths. A group that several names lead to is visited once.

    Not by recursion, nor by HDF5's own: a file may nest its groups as deep as it likes.
    """
    pending: list[tuple[str, h5py.Group]] = [("", opened)]
    seen = set()
    items = 0
    while pending:
        parent, group = pending.pop()
        if parent.count("/") > DEEPEST_GROUP:
            raise UnsafeFile(f"its groups are nested deeper than {DEEPEST_GROUP}")
        for name in group:
            items += 1
            if items > MOST_ITEMS:
                raise UnsafeFile(f"it holds more than {MOST_ITEMS:,} groups and tensors")
            path = f"{parent}/{name}".lstrip("/")
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise UnsafeFile(f"{path} is a link to something else ({type(link).__name__})")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(item, h5py.Group):
                pending.append((path, item))
            elif isinstance(item, h5py.Dataset):
                yield path, item


def _require_plain_numbers(path: str, tensor: h5py.Dataset) -> None:
    """Refuse tensors that hold something else, or are stored in a way that Keras never uses."""
    if tensor.shape is None:
        raise UnsafeFile(f"the tensor {path} is empty: it has no shape")
    if tensor.external or tensor.is_virtual:
        raise UnsafeFile(f"the numbers of the tensor {path} are in another file")
    dtype = tensor.dtype
    is_bfloat16 = dtype.kind == "V" and dtype.itemsize == 2 and dtype.fields is None
    if dtype.kind not in NUMBER_KINDS and not is_bfloat16:
        raise UnsafeFile(f"the tensor {path} holds {dtype} instead of real numbers")

    if tensor.chunks:
        own_bytes = math.prod(tensor.shape) * dtype.itemsize
        if math.prod(tensor.chunks) * dtype.itemsize > own_bytes + CHUNK_SLACK_BYTES:
            raise UnsafeFile(f"the tensor {path} is stored in chunks larger than itself")
    filters = _list_filters(tensor)
    if not KNOWN_FILTERS.issuperset(filters) or filters.count(DEFLATE) > 1:
        raise UnsafeFile(f"the tensor {path} is compressed by something else than gzip")


def _list_filters(tensor: h5py.Dataset) -> list[int]:
    """The codes of what each chunk passes through when it is written, in that order."""
    properties = tensor.id.get_create_plist()
    return [properties.get_filter(place)[0] for place in range(properties.get_nfilters())]


def _check_chunks(path: str, tensor: h5py.Dataset) -> None:
    most = math.prod(tensor.chunks) * tensor.dtype.itemsize + CHECKSUM_BYTES
    # Set in the mask of a chunk that got no smaller and is stored as it is.
    skipped = 1 << _list_filters(tensor).index(DEFLATE)
    for place in range(tensor.id.get_num_chunks()):
        chunk = tensor.id.get_chunk_info(place)
        mask, data = tensor.id.read_direct_chunk(chunk.chunk_offset)
        if mask & skipped:
            continue
        if len(zlib.decompressobj().decompress(data, most + 1)) > most:
            raise UnsafeFile(f"a chunk of the tensor {path} decompresses into more than it holds")


def _count_listed(opened: h5py.File) -> int | None:
    """How many tensors a file of the older format lists. None for a file of the newer one."""
    root: Any = opened
    # A file of a whole model keeps its layers below this name, a file of weights at the top.
    if not _has_list(root, "layer_names"):
        root = opened.get("model_weights")
        if not isinstance(root, h5py.Group) or not _has_list(root, "layer_names"):
            return None
    count = 0
    layers = [*_read_list(root, "layer_names"), "top_level_model_weights"]
    for name in layers:
        group = root.get(name)
        if isinstance(group, h5py.Group):
            count += len(_read_list(group, "weight_names"))
    return count


def _has_list(group: h5py.Group, name: str) -> bool:
    # A list that is too long for one attribute is divided into numbered ones.
    return name in group.attrs or f"{name}0" in group.attrs


def _read_list(group: h5py.Group, name: str) -> list[str]:
    """The names in an attribute, as Keras reads them."""
    parts = [name]
    if name not in group.attrs:
        parts = []
        while f"{name}{len(parts)}" in group.attrs:
            parts.append(f"{name}{len(parts)}")
    names: list[str] = []
    for part in parts:
        size = math.prod(group.attrs.get_id(part).shape)
        if len(names) + size > MOST_ITEMS:
            raise UnsafeFile(f"it lists more than {MOST_ITEMS:,} names")
        for each in group.attrs[part]:
            names.append(each.decode() if isinstance(each, bytes) else str(each))
    return names

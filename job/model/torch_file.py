"""Tensors out of a legacy PyTorch file (before 1.6), without PyTorch and without running anything in it.

Such a file is five pickles (magic number, protocol, system, state dict, list of storage keys) and
then, for each key in that order, the number of elements as int64 and the elements, all
little-endian. A pickle can call any function by name, so this reader resolves four names and
refuses every other; what it builds are arrays of numbers that are in the file.
"""

import os
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from job.errors import WeightsError

MAGIC: Final = 0x1950A86A20F9469CFC6C
PROTOCOL: Final = 1001
STORAGES: Final[dict[Any, np.dtype[Any]]] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}


class _Malformed(Exception):
    """The file is not what it says."""


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]
    length: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The state dict of a legacy PyTorch file: contiguous arrays by name.

    Raises:
        WeightsError: the file is no such file, is cut short or too long, or asks for more than
        tensors.
    """
    try:
        with path.open("rb") as file:
            tensors, keys = _header(file)
            storages = _storages(
                file, keys, {tensor.storage.key: tensor.storage for tensor in tensors.values()}
            )
            if file.read(1):
                raise _Malformed("data follows its last tensor")
        return {name: _array(tensor, storages) for name, tensor in tensors.items()}
    except Exception as error:  # a damaged pickle may raise anything
        raise WeightsError(
            f"{path.name} cannot be read: {error}. Expected a legacy PyTorch state dict of float32 and int64 tensors.",
            "Fetch the file again, and check its SHA-256.",
        ) from error


def _header(file: BinaryIO) -> tuple[dict[str, _Tensor], list[str]]:
    """The five pickles: the tensors by name, and the order in which their storages follow."""
    magic, protocol, system, state, keys = (_Reader(file).load() for _ in range(5))
    if magic != MAGIC or protocol != PROTOCOL:
        raise _Malformed("it has another magic number or protocol")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise _Malformed("it was not written little-endian")
    if not isinstance(state, dict) or not all(
        isinstance(t, _Tensor) and isinstance(n, str) for n, t in state.items()
    ):
        raise _Malformed("it holds something other than named tensors")
    if not isinstance(keys, list):
        raise _Malformed("it has no list of storages")
    return dict(state), keys


def _storages(
    file: BinaryIO, keys: list[str], declared: dict[str, _Storage]
) -> dict[str, npt.NDArray[Any]]:
    """The numbers themselves, each storage exactly as long as its tensors were told."""
    if sorted(keys) != sorted(declared):
        raise _Malformed("the storages listed are not those of its tensors")
    storages = {}
    for key in keys:
        storage = declared[key]
        if int.from_bytes(file.read(8), "little", signed=True) != storage.length:
            raise _Malformed("a storage has another length than its tensors say")
        wanted = storage.length * storage.dtype.itemsize
        if (
            os.fstat(file.fileno()).st_size - file.tell() < wanted
        ):  # before Python reserves that much memory
            raise _Malformed("it is cut short")
        storages[key] = np.frombuffer(file.read(wanted), storage.dtype)
    return storages


def _array(tensor: _Tensor, storages: dict[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The tensor in C order. Its strides (in elements) may be a transposed one's, but stay inside the storage."""
    count = int(np.prod(tensor.shape, dtype=np.int64))
    last = tensor.offset + sum(
        (side - 1) * stride for side, stride in zip(tensor.shape, tensor.stride, strict=True)
    )
    if (
        not 0 < count <= tensor.storage.length
        or not 0 <= tensor.offset <= last < tensor.storage.length
    ):
        raise _Malformed("a tensor reaches beyond its storage")
    numbers = storages[tensor.storage.key][tensor.offset :]
    strides = [stride * numbers.itemsize for stride in tensor.stride]
    return np.ascontiguousarray(
        np.lib.stride_tricks.as_strided(numbers, tensor.shape, strides, writeable=False)
    )


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_gradient: Any
) -> _Tensor:
    """Stands for `torch._utils._rebuild_tensor_v2`: notes where the numbers are."""
    numbers = (offset, *shape, *stride)
    if not isinstance(storage, _Storage) or not all(
        type(n) is int and 0 <= n < 2**31 for n in numbers
    ):
        raise _Malformed("a tensor has no storage, or a shape that is none")
    return _Tensor(storage, offset, tuple(shape), tuple(stride))


class _Reader(pickle._Unpickler):
    """Resolves the four names that tensors need.

    The unpickler written in Python: the one in C reserves as much memory as a damaged file tells it
    to.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in STORAGES:
            return name
        raise _Malformed(f"it asks for {module}.{name}, which no tensor needs")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _device, length, view = pid
        if kind != "storage" or view is not None or type(length) is not int or length < 0:
            raise _Malformed("a storage is not a whole one")
        return _Storage(key, STORAGES[storage_type], length)

"""Read the tensors of a legacy PyTorch file (before 1.6) without PyTorch, running nothing in it.

Such a file is five pickles (magic number, protocol, system, state dict, list of storage keys). Then
follow, for each key in that order, the number of elements as int64 and the elements, all
little-endian. A pickle can call any function by name, so this reader resolves four names and
refuses every other. What it builds are arrays of numbers that are in the file.
"""

import os
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

MAGIC: Final = 0x1950A86A20F9469CFC6C
PROTOCOL: Final = 1001
STORAGE_TYPES: Final[dict[Any, np.dtype[Any]]] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}


class TorchFileError(Exception):
    """The file is damaged, or asks for more than tensors."""


@dataclass(frozen=True, slots=True)
class TensorStorage:
    """A block of numbers that follows the pickles. Several tensors may share one."""

    key: str
    dtype: np.dtype[Any]
    length: int


@dataclass(frozen=True, slots=True)
class TensorView:
    """A tensor as the state dict describes it: a window on a storage, counted in elements."""

    storage: TensorStorage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_state_dict(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read the state dict of a legacy PyTorch file: contiguous arrays by name.

    Raises:
        TorchFileError: the file is of another kind, cut short or too long, or asks for more than
        tensors.
    """
    try:
        with path.open("rb") as file:
            tensors, keys = _read_pickles(file)
            declared = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
            storages = _read_storages(file, keys, declared)
            if file.read(1):
                raise TorchFileError("data follows its last tensor")
        return {name: _copy_tensor(tensor, storages) for name, tensor in tensors.items()}
    except Exception as error:  # a damaged pickle may raise anything
        raise TorchFileError(
            f"{path.name} cannot be read: {error}. Expected a legacy PyTorch state dict of float32 "
            "and int64 tensors. Fetch the file again, and check its SHA-256."
        ) from error


def _read_pickles(file: BinaryIO) -> tuple[dict[str, TensorView], list[str]]:
    """Read the tensors by name, and the order in which their storages follow."""
    # Each pickle ends with a mark of its own, so the next unpickler goes on right after it.
    magic = TensorUnpickler(file).load()
    protocol = TensorUnpickler(file).load()
    system = TensorUnpickler(file).load()
    state = TensorUnpickler(file).load()
    keys = TensorUnpickler(file).load()

    if magic != MAGIC or protocol != PROTOCOL:
        raise TorchFileError("it has another magic number or protocol")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise TorchFileError("it was not written little-endian")
    if not isinstance(state, dict):
        raise TorchFileError("it holds something other than named tensors")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, TensorView):
            raise TorchFileError("it holds something other than named tensors")
    if not isinstance(keys, list):
        raise TorchFileError("it has no list of storages")
    return dict(state), keys


def _read_storages(
    file: BinaryIO, keys: list[str], declared: dict[str, TensorStorage]
) -> dict[str, npt.NDArray[Any]]:
    """Read the numbers themselves, each storage exactly as long as its tensors say."""
    if sorted(keys) != sorted(declared):
        raise TorchFileError("the storages listed are not those of its tensors")

    storages = {}
    for key in keys:
        storage = declared[key]
        if int.from_bytes(file.read(8), "little", signed=True) != storage.length:
            raise TorchFileError("a storage has another length than its tensors say")

        # Checked first, because Python reserves as much memory as it is asked to read.
        wanted = storage.length * storage.dtype.itemsize
        if os.fstat(file.fileno()).st_size - file.tell() < wanted:
            raise TorchFileError("it is cut short")
        storages[key] = np.frombuffer(file.read(wanted), storage.dtype)
    return storages


def _copy_tensor(tensor: TensorView, storages: dict[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Copy a tensor into C order. Its strides may be those of a transposed one."""
    # `as_strided` does not check its arguments: outside the storage it would read foreign memory.
    count = int(np.prod(tensor.shape, dtype=np.int64))
    last = tensor.offset
    for side, stride in zip(tensor.shape, tensor.stride, strict=True):
        last += (side - 1) * stride
    if not 0 < count <= tensor.storage.length or not last < tensor.storage.length:
        raise TorchFileError("a tensor reaches beyond its storage")

    numbers = storages[tensor.storage.key][tensor.offset :]
    strides = [stride * numbers.itemsize for stride in tensor.stride]
    view = np.lib.stride_tricks.as_strided(numbers, tensor.shape, strides, writeable=False)
    return np.ascontiguousarray(view)


def _rebuild_tensor(
    storage: TensorStorage,
    offset: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    *_gradient: Any,
) -> TensorView:
    """Note where the numbers of a tensor are, in place of `torch._utils._rebuild_tensor_v2`."""
    if not isinstance(storage, TensorStorage):
        raise TorchFileError("a tensor has no storage")
    for number in (offset, *shape, *stride):
        # A bool would pass `isinstance`.
        if type(number) is not int or not 0 <= number < 2**31:
            raise TorchFileError("a tensor has an impossible offset, shape or stride")
    return TensorView(storage, offset, tuple(shape), tuple(stride))


# The unpickler written in Python: the one in C reserves as much memory as a damaged file asks for.
class TensorUnpickler(pickle._Unpickler):
    """Resolves the four names that tensors need."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in STORAGE_TYPES:
            return name
        raise TorchFileError(f"it asks for {module}.{name}, which no tensor needs")

    def persistent_load(self, pid: Any) -> TensorStorage:
        kind, storage_type, key, _device, length, view = pid
        if kind != "storage" or view is not None or type(length) is not int or length < 0:
            raise TorchFileError("a storage is not complete")
        return TensorStorage(key, STORAGE_TYPES[storage_type], length)

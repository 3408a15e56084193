"""The reader of legacy PyTorch files takes tensors and nothing else. PyTorch's names are stand-ins here."""

import io
import os
import pickle
import sys
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from job.errors import WeightsError
from job.model import torch_file

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {"protocol_version": PROTOCOL, "little_endian": True}


@pytest.fixture(autouse=True)
def _names_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pickle writes a name only if it can import it."""
    torch, utilities = ModuleType("torch"), ModuleType("torch._utils")

    def rebuild() -> None: ...

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    vars(utilities)["_rebuild_tensor_v2"] = rebuild
    for name in ("FloatStorage", "LongStorage", "HalfStorage"):
        vars(torch)[name] = type(name, (), {"__module__": "torch"})
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utilities)


@dataclass(frozen=True)
class Storage:
    key: str
    values: Any
    length: int
    kind: str


class Tensor:
    """What a state dict holds, with room for lies."""

    def __init__(
        self,
        values: Any,
        key: str = "0",
        kind: str = "FloatStorage",
        length: int | None = None,
        **lies: Any,
    ) -> None:
        base = values if values.base is None else values.base
        self.storage = Storage(key, base, base.size if length is None else length, kind)
        strides = tuple(step // values.itemsize for step in values.strides)
        self.arguments = {"offset": 0, "shape": values.shape, "stride": strides} | lies

    def __reduce__(self) -> Any:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, (
            self.storage,
            *self.arguments.values(),
            False,
            OrderedDict(),
        )


class Pickler(pickle.Pickler):
    def persistent_id(self, item: Any) -> Any:
        if not isinstance(item, Storage):
            return None
        return (
            "storage",
            getattr(sys.modules["torch"], item.kind),
            item.key,
            "cpu",
            item.length,
            None,
        )


def write(
    path: Path,
    state: Any,
    magic: Any = MAGIC,
    system: Any = SYSTEM,
    keys: Any = None,
    count: int | None = None,
) -> Path:
    storages = (
        {t.storage.key: t.storage for t in state.values() if isinstance(t, Tensor)}
        if isinstance(state, dict)
        else {}
    )
    file = io.BytesIO()
    for part in (magic, PROTOCOL, system, state, sorted(storages) if keys is None else keys):
        Pickler(file, 2).dump(part)
    for _, storage in sorted(storages.items()):
        file.write((storage.length if count is None else count).to_bytes(8, "little", signed=True))
        file.write(storage.values.tobytes())
    path.write_bytes(file.getvalue())
    return path


FLOATS = np.arange(6, dtype="<f4").reshape(2, 3).copy()


def test_tensors_come_back_in_their_shape(tmp_path: Path) -> None:
    counts = np.array([7], dtype="<i8")
    state = OrderedDict(
        a=Tensor(FLOATS), transposed=Tensor(FLOATS.T), row=Tensor(FLOATS, shape=(3,), stride=(1,), offset=3),
        counts=Tensor(counts, "1", "LongStorage"),
    )  # fmt: skip
    read = torch_file.read(write(tmp_path / "file.pth", state))
    assert np.array_equal(read["a"], FLOATS)
    assert np.array_equal(read["transposed"], FLOATS.T)
    assert np.array_equal(read["row"], [3, 4, 5])
    assert read["counts"].tolist() == [7]
    assert all(array.flags.c_contiguous for array in read.values())


class Shell:
    def __init__(self, path: Path) -> None:
        self.command = f"touch {path}"

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def test_a_file_that_would_run_a_command_is_refused_unrun(tmp_path: Path) -> None:
    path = write(tmp_path / "file.pth", {"a": Shell(tmp_path / "owned")})
    with pytest.raises(
        WeightsError, match=r"asks for (posix|nt).system, which no tensor needs"
    ) as caught:
        torch_file.read(path)
    assert caught.value.exit_code == 4
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ({"shape": (3, 3)}, "reaches beyond its storage"),
        ({"shape": (1 << 20, 1 << 10), "stride": (0, 0)}, "reaches beyond its storage"),
        ({"offset": 1}, "reaches beyond its storage"),
        ({"offset": -1}, "a shape that is none"),
        ({"stride": (-3, 1)}, "a shape that is none"),
        ({"stride": (1,)}, "zip"),
        ({"shape": (0,), "stride": (1,)}, "reaches beyond its storage"),
        ({"length": 5}, "data follows|reaches beyond"),
        ({"length": 1 << 40}, "cut short"),
        ({"length": -6}, "not a whole one"),
        ({"kind": "HalfStorage"}, "HalfStorage"),
    ],
)
def test_a_tensor_that_lies_about_itself_is_refused(
    tmp_path: Path, lie: dict[str, Any], reason: str
) -> None:
    with pytest.raises(WeightsError, match=reason):
        torch_file.read(write(tmp_path / "file.pth", {"a": Tensor(FLOATS, **lie)}))


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ({"magic": 7}, "another magic number"),
        ({"system": {"little_endian": False}}, "not written little-endian"),
        ({"keys": {}}, "no list of storages"),
        ({"keys": ["0", "1"]}, "not those of its tensors"),
        ({"count": 5}, "another length than its tensors say"),
    ],
)
def test_a_file_that_lies_about_itself_is_refused(
    tmp_path: Path, lie: dict[str, Any], reason: str
) -> None:
    with pytest.raises(WeightsError, match=reason):
        torch_file.read(write(tmp_path / "file.pth", {"a": Tensor(FLOATS)}, **lie))


def test_a_file_of_other_things_than_tensors_is_refused(tmp_path: Path) -> None:
    for state in ({"a": 7}, [1, 2], {7: Tensor(FLOATS)}):
        with pytest.raises(WeightsError, match="something other than named tensors"):
            torch_file.read(write(tmp_path / "file.pth", state))


def test_no_prefix_of_a_file_and_no_longer_one_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "file.pth", {"a": Tensor(FLOATS)})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError):
            torch_file.read(path)
    path.write_bytes(whole + b"!")
    with pytest.raises(WeightsError, match="data follows its last tensor"):
        torch_file.read(path)


def test_random_damage_gives_an_error_or_an_array_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path / "file.pth", {"a": Tensor(FLOATS)})
    whole, chance = path.read_bytes(), np.random.default_rng(3)
    for _ in range(2000):
        damaged = bytearray(whole)
        damaged[chance.integers(len(whole))] = chance.integers(256)
        path.write_bytes(damaged)
        try:
            read = torch_file.read(path)
        except WeightsError:
            continue
        assert all(array.size <= FLOATS.size for array in read.values())

"""The real photographs and weights arrive complete, once, however many ask and however often."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools import photographs
from tools.paths import ROOT


def test_there_are_five_classes_of_photographs_without_drawings_or_mirrored_twins() -> None:
    folder = photographs.ensure_photographs()
    counts = {path.name: len(list(path.glob("*.png"))) for path in folder.iterdir()}
    assert counts.keys() == photographs.CLASSES.keys()
    assert min(counts.values()) >= photographs.LEAST_IN_A_CLASS
    assert not list(folder.rglob("*_mirror*")) + list(folder.rglob("*_flip*"))


def test_damaged_weights_are_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    damaged = tmp_path / "graft" / "keras" / "models" / "efficientnet_lite0.weights.h5"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"torn")
    assert photographs.ensure_weights() == damaged
    assert damaged.stat().st_size == 14_041_560


def test_two_processes_at_once_after_a_killed_one_leave_one_whole_result(tmp_path: Path) -> None:
    (tmp_path / "graft" / "photographs.work" / "chosen").mkdir(parents=True)
    command = [sys.executable, "-m", photographs.__name__, "weights"]
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    both = [subprocess.Popen(command, env=environment, cwd=ROOT) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert sorted(path.name for path in (tmp_path / "graft").iterdir()) == [
        "keras",
        "photographs.lock",
    ]


def test_a_package_with_too_few_photographs_is_refused(tmp_path: Path) -> None:
    for source in photographs.CLASSES.values():
        (tmp_path / source).mkdir(parents=True)
    with pytest.raises(SystemExit, match="0 photographs in animals/birds, expected 25 or more"):
        photographs._select(tmp_path, tmp_path / "chosen")

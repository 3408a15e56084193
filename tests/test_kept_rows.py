"""Rows that are kept on the disk: whether they are still what was written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from job import kept_rows
from job.kept_rows import RowStore

IMAGES = ["a" * 64, "b" * 64]
ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def kept(tmp_path: Path) -> RowStore:
    kept = RowStore(tmp_path, (3,), np.dtype(np.float32))
    assert list(kept.write_shard(IMAGES, [ROWS])) == [2]
    return kept


def test_a_whole_shard_is_read_and_not_computed_again(kept: RowStore) -> None:
    assert kept.find_missing(IMAGES) == []
    assert np.array_equal(kept.open_rows(IMAGES[::-1])[:], ROWS[::-1])


def test_a_shard_in_which_a_bit_has_flipped_is_computed_again(
    kept: RowStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (shard,) = tmp_path.glob("*.npy")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert kept.find_missing(["c" * 64]) == [0]
    assert shard.exists()
    assert kept.find_missing(IMAGES) == [0, 1]
    assert f"{shard} was damaged on this disk" in caplog.text
    list(kept.write_shard(IMAGES, [ROWS]))
    assert shard.read_bytes() == whole
    assert kept.find_missing(IMAGES) == []


def test_a_shard_of_an_earlier_version_is_read_as_it_is(kept: RowStore, tmp_path: Path) -> None:
    (listing,) = tmp_path.glob("*.txt")
    listing.write_text("\n".join(IMAGES))
    assert kept.find_missing(IMAGES) == []
    assert np.array_equal(kept.open_rows(IMAGES)[:], ROWS)


@pytest.mark.parametrize("removed", ["listing", "shard"])
def test_two_runs_that_find_one_damaged_shard_both_compute_it_again(
    kept: RowStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: str
) -> None:
    (shard,) = tmp_path.glob("*.npy")
    shard.write_bytes(b"\x93NUMPY and nothing of it")
    another_run = RowStore(kept.folder, kept.shape, kept.dtype)
    name = "_read_listing" if removed == "listing" else "sha256"
    read = getattr(kept_rows, name)

    def read_too_late(path: Path) -> Any:
        monkeypatch.setattr(kept_rows, name, read)
        assert another_run.find_missing(IMAGES) == [0, 1]
        return read(path)

    monkeypatch.setattr(kept_rows, name, read_too_late)
    assert kept.find_missing(IMAGES) == [0, 1]
    list(kept.write_shard(IMAGES, [ROWS]))
    assert np.array_equal(another_run.open_rows(IMAGES)[:], ROWS)

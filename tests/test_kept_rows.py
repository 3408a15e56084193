"""Rows that are kept on the disk: whether they are still what was written."""

from pathlib import Path

import numpy as np
import pytest

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

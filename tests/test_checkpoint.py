"""Checkpoints: what is torn, damaged or there twice, and that the bucket decides."""

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from job import storage
from job.checkpoint import KEPT, CheckpointStore, TrainingState, UnfitState
from job.storage.folder import FolderStore

LAST = 7


def state(step: int) -> TrainingState:
    arrays: dict[str, list[np.ndarray]] = {
        "model": [np.full((2, 3), step, np.float32), np.array(step, np.int64)],
        "optimizer": [],
        "best": [],
    }
    facts = {"step": step, "loss": 0.1 + step, "history": [{"epoch": 1}], "over": step == LAST}
    return TrainingState(arrays, facts)


@pytest.fixture
def checkpoints(tmp_path: Path) -> CheckpointStore:
    return fresh(tmp_path)


def fresh(tmp_path: Path, pod: str = "pod") -> CheckpointStore:
    """As a new process sees it; another pod has another disk."""
    (tmp_path / "bucket").mkdir(exist_ok=True)
    return CheckpointStore(
        folder=tmp_path / pod,
        store=storage.connect((tmp_path / "bucket").as_uri()).child("checkpoints"),
        interval_seconds=1e9,
    )


def in_bucket(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "bucket" / "checkpoints").glob("*.npz"))


def step_of(checkpoints: CheckpointStore) -> int | None:
    found = checkpoints.load()
    return found.facts["step"] if found else None


def test_there_is_no_state_at_the_beginning(checkpoints: CheckpointStore) -> None:
    assert checkpoints.load() is None


def test_a_state_comes_back_as_it_was(checkpoints: CheckpointStore, tmp_path: Path) -> None:
    checkpoints.save(state(4))
    found = fresh(tmp_path).load()
    assert found is not None
    assert found.facts == state(4).facts
    assert found.arrays.keys() == state(4).arrays.keys()
    for one, other in zip(found.arrays["model"], state(4).arrays["model"], strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


def test_training_is_over_when_the_latest_state_says_so(checkpoints: CheckpointStore) -> None:
    assert not checkpoints.is_training_over()
    checkpoints.save(state(1))
    assert not checkpoints.is_training_over()
    checkpoints.save(state(LAST))
    assert checkpoints.is_training_over()


def test_equal_states_are_equal_bytes() -> None:
    assert state(1).to_bytes() == state(1).to_bytes()


def test_the_newest_wins_and_only_the_last_ones_are_kept(
    checkpoints: CheckpointStore, tmp_path: Path
) -> None:
    for step in range(12):
        checkpoints.save(state(step))
    assert step_of(fresh(tmp_path)) == 11
    assert len(in_bucket(tmp_path)) == len(list((tmp_path / "pod").iterdir())) == KEPT


def test_another_pod_reads_the_bucket_and_counts_on(
    checkpoints: CheckpointStore, tmp_path: Path
) -> None:
    checkpoints.save(state(1))
    second = fresh(tmp_path, "another pod")
    assert step_of(second) == 1
    second.save(state(2))
    assert step_of(fresh(tmp_path)) == 2


@pytest.mark.parametrize("damage", [b"", b"torn", None])
def test_a_damaged_state_is_ignored_for_the_one_before(
    checkpoints: CheckpointStore,
    tmp_path: Path,
    damage: bytes | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    checkpoints.save(state(1))
    checkpoints.save(state(2))
    newest = in_bucket(tmp_path)[-1]
    whole = newest.read_bytes()
    newest.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert step_of(fresh(tmp_path, "another pod")) == 1
    assert "damaged" in caplog.text


def test_a_damaged_state_on_this_disk_is_read_from_the_bucket(
    checkpoints: CheckpointStore, tmp_path: Path
) -> None:
    checkpoints.save(state(1))
    (local,) = (tmp_path / "pod").glob("*.npz")
    local.write_bytes(b"rotten")
    assert step_of(fresh(tmp_path)) == 1


def test_the_bucket_beats_the_disk(checkpoints: CheckpointStore, tmp_path: Path) -> None:
    checkpoints.save(state(1))
    checkpoints.save(state(2))
    in_bucket(tmp_path)[-1].unlink()
    assert step_of(fresh(tmp_path)) == 1


def test_two_states_of_one_number_are_no_trouble(
    checkpoints: CheckpointStore, tmp_path: Path
) -> None:
    checkpoints.save(state(1))
    fresh(tmp_path, "another pod").save(state(5))
    assert len(in_bucket(tmp_path)) == 2
    assert step_of(fresh(tmp_path, "third")) in (1, 5)


def test_foreign_files_beside_the_states_are_no_states(
    checkpoints: CheckpointStore, tmp_path: Path
) -> None:
    checkpoints.save(state(1))
    for name in ("99999999-zz.npz", "notes.txt", ".hidden"):
        (tmp_path / "bucket" / "checkpoints" / name).write_text("not a state")
    assert step_of(fresh(tmp_path)) == 1


def test_an_array_of_objects_is_not_unpickled() -> None:
    pickled = TrainingState({"model": [np.array([{}], object)]}, {}).to_bytes()
    with pytest.raises(UnfitState, match="pickle"):
        TrainingState.from_bytes(pickled)


def test_clearing_leaves_nothing_and_touches_nothing_else(
    checkpoints: CheckpointStore, tmp_path: Path
) -> None:
    checkpoints.save(state(1))
    (tmp_path / "bucket" / "checkpoints-old").mkdir()
    (tmp_path / "bucket" / "checkpoints-old" / "kept").write_text("kept")
    checkpoints.clear()
    assert checkpoints.load() is None
    assert in_bucket(tmp_path) == []
    assert (tmp_path / "bucket" / "checkpoints-old" / "kept").exists()


def test_another_run_of_the_same_id_may_clear_a_shared_disk_at_any_time(
    checkpoints: CheckpointStore, tmp_path: Path
) -> None:
    """Two pods that share a cache: one has released while the other one saves."""

    class SlowStore(FolderStore):
        def upload(self, key: str, path: Path) -> None:
            checkpoints.clear()
            super().upload(key, path)
            checkpoints.clear()

    bucket = tmp_path / "bucket"
    store = SlowStore(bucket / "checkpoints", base=bucket)
    other = CheckpointStore(folder=tmp_path / "pod", store=store, interval_seconds=1e9)
    other.save(state(1))
    assert other.load() is None


def test_a_checkpoint_is_due_after_the_interval(checkpoints: CheckpointStore) -> None:
    assert not checkpoints.should_save()
    checkpoints.interval_seconds = 0
    assert checkpoints.should_save()


def write_npz(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def make_npy(value: str, header: str = "") -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array(value))
    data = buffer.getvalue()
    if header:
        text = f"{header}\n".encode()
        data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    return data


DEEP = "[" * 3_000 + "]" * 3_000


@pytest.mark.parametrize(
    "data",
    [
        b"no zip",
        write_npz({}),
        write_npz({"json.npy": b"no array"}),
        write_npz({"json.npy": make_npy(DEEP)}),
        write_npz({"json.npy": make_npy("NaN")}),
        write_npz({"json.npy": make_npy('{"facts": [], "groups": {}}')}),
        write_npz({"json.npy": make_npy('{"facts": {}, "groups": {"model": 1e9}}')}),
        write_npz({"json.npy": make_npy('{"facts": {}, "groups": {"model": 1000000000}}')}),
        write_npz({"json.npy": make_npy("", DEEP)}),
        write_npz(
            {
                "json.npy": make_npy(
                    "", "{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999999,)}"
                )
            }
        ),
        write_npz({"json.npy": make_npy("", "{'descr': '|O', 'shape': (), 'fortran_order': 0}")}),
    ],
)
def test_a_state_that_graft_never_wrote_gives_way_to_the_one_before(
    data: bytes, checkpoints: CheckpointStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"00000009-{hashlib.sha256(data).hexdigest()}.npz"
    checkpoints.store.write(name, data)
    assert step_of(checkpoints) is None
    assert not checkpoints.is_training_over()
    assert f"checkpoint {name} is not a state of this training and ignored" in caplog.text
    assert checkpoints.store.uri in caplog.text

    checkpoints.save(state(LAST))
    assert step_of(fresh(tmp_path, "another pod")) == LAST
    assert fresh(tmp_path, "a third pod").is_training_over()


def test_states_that_are_useless_push_no_good_one_out(tmp_path: Path) -> None:
    """As many as are kept, with higher numbers: a new state was the first to be removed."""
    checkpoints = fresh(tmp_path)
    for number in (8, 9):
        data = f"forged {number}".encode()
        name = f"{number:08d}-{hashlib.sha256(data).hexdigest()}.npz"
        checkpoints.store.write(name, data)
    for step in range(1, 5):
        checkpoints.save(state(step))
        assert step_of(fresh(tmp_path, "another pod")) == step
    assert len(in_bucket(tmp_path)) == 2 + KEPT


def test_a_state_that_was_copied_from_another_run_is_not_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another version of Graft makes another run id of the same images."""
    checkpoints = fresh(tmp_path)
    checkpoints.run_id = "0123456789abcdef"
    checkpoints.save(state(3))
    assert step_of(checkpoints) == 3
    other = fresh(tmp_path)
    other.run_id = "fedcba9876543210"
    assert step_of(other) is None
    assert "it is of run '0123456789abcdef', expected 'fedcba9876543210'" in caplog.text


def test_a_reader_may_refuse_a_state_for_the_one_before(checkpoints: CheckpointStore) -> None:
    def read_older(found: TrainingState) -> int:
        step = found.facts["step"]
        if step > 1:
            raise UnfitState("too new")
        return int(step)

    for step in (1, 2):
        checkpoints.save(state(step))
    assert checkpoints.load_as(read_older) == 1

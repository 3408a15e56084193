"""Every fault that the simulated worlds have found, as the shortest history that shows it.

The seeds are those that found it at the time. They mean other worlds once the tool has changed.
Faults that were found by other means have their tests with their rooms: a torn release in
`tests/publish/test_releasing.py`, a roll-back that was undone in
`tests/publish/test_choice_by_hand.py`, a promotion of a deleted release in
`tests/publish/test_retention.py`, a pointer that changes under its reader in
`tests/storage/test_s3.py`, and a cleared checkpoint in `tests/test_checkpoint.py`.
"""

import os
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from job import files, publish, storage
from job.checkpoint import CheckpointStore
from job.errors import ReleaseError, StoreUnavailable
from job.release import POINTER
from job.storage.folder import FolderStore
from job.storage.store import PROBE_SECONDS
from tests.conftest import FaultyProxy
from tests.publish.test_releasing import make_release
from tests.test_checkpoint import state


def test_a_partial_file_is_not_swept_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seeds 227, 393, 807: the lock was released before the rename, and another pod swept."""
    replace = Path.replace

    def sweep_first(self: Path, target: Path) -> Path:
        files.sweep_partials(tmp_path)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", sweep_first)
    with files.write_whole(tmp_path / "state") as file:
        file.write(b"whole")
    assert (tmp_path / "state").read_bytes() == b"whole"


def test_what_a_killed_probe_has_left_is_deleted_a_day_later(tmp_path: Path) -> None:
    """Seeds 188, 277, 304: killed inside the probe of the store, a run left its object for ever."""
    store = storage.connect(str(tmp_path))
    for name in (".graft-probe-old", ".graft-probe-young", "kept"):
        store.write(name, b"first")
    long_ago = time.time() - PROBE_SECONDS - 60
    os.utime(tmp_path / ".graft-probe-old", (long_ago, long_ago))
    os.utime(tmp_path / "kept", (long_ago, long_ago))
    store.probe()
    # The young one may be another run's, which is probing now.
    assert [entry.key for entry in store.list()] == [".graft-probe-young", "kept"]


def test_an_answer_that_there_is_nothing_shows_that_the_token_works(
    faulty: FaultyProxy, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seeds 0, 58: a token that expired after a 404 was taken for one that had never worked."""
    monkeypatch.setattr("job.storage.s3_session.WORKED", set())
    store = storage.connect(bucket)
    assert store.head("nothing") is None
    faulty.fail("HEAD", status=400)
    with pytest.raises(StoreUnavailable, match="expired"):
        store.head("nothing")


def test_a_state_that_goes_while_it_is_looked_for_gives_way_to_the_newer_ones(
    tmp_path: Path,
) -> None:
    """Seed 246: a run began again, because another one had replaced the states that it listed."""
    bucket = tmp_path / "bucket"
    other = CheckpointStore(folder=tmp_path / "a", store=FolderStore(bucket), interval_seconds=0)
    other.save(state(1))

    class SlowStore(FolderStore):
        def read(self, key: str, most: int | None = None, etag: str = "") -> bytes:
            if key.startswith("00000001"):
                for step in (2, 3):
                    other.save(state(step))
            return super().read(key, most, etag)

    late = CheckpointStore(folder=tmp_path / "b", store=SlowStore(bucket), interval_seconds=0)
    found = late.load()
    assert found
    assert found.facts["step"] == 3


class WrongOnce(FolderStore):
    """A store whose next answer has a wrong byte."""

    is_wrong = True

    def stream(self, key: str, start: int = 0, etag: str = "") -> Generator[bytes, None, None]:
        for piece in super().stream(key, start, etag):
            yield b"?" + piece[1:] if self.is_wrong and key == "model.keras" else piece
        if key == "model.keras":
            self.is_wrong = False


def test_a_byte_that_changed_on_its_way_is_no_damage(tmp_path: Path) -> None:
    """Seeds 31, 48: `graft verify` called an intact release damaged."""
    make_release(storage.connect(str(tmp_path / "pets")), tmp_path, "run-1")
    release = tmp_path / "pets" / "releases" / "run-1"
    publish.verify(WrongOnce(release))
    (release / "model.keras").write_bytes(b"damaged")
    with pytest.raises(ReleaseError):
        publish.verify(WrongOnce(release))


class Vanishing(FolderStore):
    """A store of which somebody deletes an object while it is looked at."""

    deleted = ""

    def stream(self, key: str, start: int = 0, etag: str = "") -> Generator[bytes, None, None]:
        if key == self.deleted:
            self.delete(key)
        yield from super().stream(key, start, etag)


@pytest.mark.parametrize("name", ["model.keras", "manifest.json"])
def test_a_release_that_is_deleted_while_it_is_verified_is_said_to_be_gone(
    name: str, tmp_path: Path
) -> None:
    """Seeds 5028, 5107 of the crowds: the error spoke of a wrong bucket or endpoint."""
    make_release(storage.connect(str(tmp_path / "pets")), tmp_path, "run-1")
    store = Vanishing(tmp_path / "pets" / "releases" / "run-1")
    store.deleted = name
    with pytest.raises(ReleaseError) as caught:
        publish.verify(store)
    assert "is missing" in str(caught.value) or "has no manifest.json" in str(caught.value)


class TakenBack(FolderStore):
    """A store in which somebody promotes while the pointer is read, and takes it back at once."""

    passing = b""

    def stream(self, key: str, start: int = 0, etag: str = "") -> Generator[bytes, None, None]:
        if key == POINTER and self.passing:
            passing, self.passing = self.passing, b""
            before = self.read(key)
            self.write(key, passing)
            try:
                yield from super().stream(key, start, etag)
            finally:
                self.write(key, before)
        else:
            yield from super().stream(key, start, etag)


def test_a_pointer_that_is_taken_back_while_it_is_read_has_no_other_content(tmp_path: Path) -> None:
    """Seed 223 of the crowds: old bytes have their old ETag, and what was read was in between."""
    registry = storage.connect(str(tmp_path / "pets"))
    for run_id in ("run-1", "run-2"):
        make_release(registry, tmp_path / run_id, run_id)
        publish.promote_manually(f"{registry.uri}/releases/{run_id}")
    second = registry.read(POINTER)
    publish.promote_manually(f"{registry.uri}/releases/run-1")
    store = TakenBack(tmp_path / "pets")
    store.passing = second
    champion = publish.read_champion(store)
    entry = registry.head(POINTER)
    assert champion
    assert entry
    assert champion.pointer["run_id"] == "run-1"
    assert champion.etag == entry.etag

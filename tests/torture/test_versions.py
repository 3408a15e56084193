"""What earlier versions have written: releases verify for ever, and states are exact or refused."""

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

from job import identity, publish
from job.checkpoint import CheckpointStore, TrainingState, UnfitState
from job.errors import ReleaseError
from job.release import open_release
from job.storage.folder import FolderStore
from tools.paths import ROOT
from tools.torture.states import describe_state

VERSIONS = sorted((ROOT / "tests" / "data" / "versions").iterdir())


@pytest.fixture(params=VERSIONS, ids=lambda folder: folder.name)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of what a version has left."""
    return Path(shutil.copytree(request.param, tmp_path / "kept"))


def load_state(kept: Path, tmp_path: Path) -> TrainingState | None:
    store = FolderStore(kept / "checkpoints")
    return CheckpointStore(folder=tmp_path / "disk", store=store, interval_seconds=0).load()


def test_this_version_has_left_something_for_the_next_one() -> None:
    """If this fails after the version was raised: `python -m tools.torture.keep_version`."""
    assert version("graft") in {folder.name for folder in VERSIONS}


def test_every_kept_release_verifies_and_the_way_back_is_open(kept: Path) -> None:
    registry = (kept / "registry").as_uri()
    rows = publish.list_releases(registry)
    assert len(rows) >= 2
    for release in (kept / "registry" / "releases").iterdir():
        publish.verify(release.as_uri())
    _, champion = open_release(registry)
    other = next(row.manifest for row in rows if row.manifest.run_id != champion.run_id)
    publish.promote_manually(f"{registry}/releases/{other.run_id}")
    publish.roll_back(registry)
    assert open_release(registry)[1].raw == champion.raw


def test_damage_in_a_kept_release_is_found(kept: Path) -> None:
    model = next((kept / "registry" / "releases").glob("*/model.keras"))
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(ReleaseError):
        publish.verify(model.parent.as_uri())


def test_a_kept_state_is_read_exactly(kept: Path, tmp_path: Path) -> None:
    state = load_state(kept, tmp_path)
    assert state
    assert describe_state(state) == json.loads((kept / "state.json").read_text())


def test_a_kept_state_that_is_not_one_any_more_is_refused(kept: Path, tmp_path: Path) -> None:
    for path in (kept / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert load_state(kept, tmp_path) is None
    with pytest.raises(UnfitState):
        TrainingState.from_bytes(b"PK\x03\x04 of another kind")


def test_another_code_never_meets_the_states_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = identity.make_run_id({"GRAFT_SEED": "0"}, "data")
    monkeypatch.setattr(identity, "digest_code", lambda: "of the next version")
    assert identity.make_run_id({"GRAFT_SEED": "0"}, "data") != ours

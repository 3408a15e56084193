"""Nights after the first: nothing new, something new, a gate, a cut promotion, a roll-back."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from job import publish
from tests.pipeline.conftest import (
    ONE_FORMAT,
    STEPS,
    UNMEASURED,
    Ended,
    Released,
    draw,
    graft,
    run_of,
)


def pointer(model: Path) -> dict[str, Any]:
    return json.loads((model / "promoted.json").read_text())


# --- nothing new --------------------------------------------------------------------------------

LOADED = """
import sys
from job.__main__ import main
code = main(["run"])
print(*sorted({name.split(".")[0] for name in sys.modules}))
sys.exit(code)
"""


def test_the_same_data_again_are_unchanged_without_a_look_at_an_image(
    released: Released, tmp_path: Path
) -> None:
    again = released.copied(tmp_path)
    settings = again.settings | {"GRAFT_CACHE_DIR": str(tmp_path / "empty")}
    process = run_of(environment=settings, args=[sys.executable, "-c", LOADED])
    out, err = process.communicate()
    ended = Ended(process.returncode, out, err)

    assert ended.code == 0
    assert ended.result["status"] == "unchanged"
    assert ended.result["promoted"] is True
    assert ended.result["scores"] == released.ended.result["scores"]
    assert ended.result["release"] == again.folder.as_uri()
    assert list(ended.result["seconds"]) == ["survey"]
    assert not {"tensorflow", "keras", "scipy", "sklearn", "boto3"} & set(out.split())
    assert not (tmp_path / "empty").exists()


def test_another_listing_of_the_same_content_is_unchanged_too(
    released: Released, pictures: Path, tmp_path: Path
) -> None:
    again = released.copied(tmp_path)
    for path in pictures.rglob("*.png"):
        moved = tmp_path / "moved" / path.parent.name / "deeper" / f"new-{path.name}"
        moved.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, moved)

    ended = graft("run", **again.settings | {"GRAFT_DATASET_URI": (tmp_path / "moved").as_uri()})

    assert (ended.code, ended.result["status"]) == (0, "unchanged")
    assert ended.result["run_id"] == released.ended.result["run_id"]
    assert list(ended.result["seconds"]) == ["survey", "dataset"]


def test_unchanged_but_below_the_gate_says_so_each_night(
    released: Released, tmp_path: Path
) -> None:
    again = released.copied(tmp_path)
    assert released.ended.result["scores"]["accuracy"] < 1
    for _ in range(2):
        ended = graft("run", **again.settings | {"GRAFT_GATE_MIN_SCORE": "1"})
        assert (ended.code, ended.result["status"]) == (6, "below_gate")
        assert ended.result["error"] is None
        assert ended.result["release"] == again.folder.as_uri()


def test_a_promotion_that_was_cut_off_after_the_manifest_is_finished_by_the_next_run(
    released: Released, tmp_path: Path
) -> None:
    again = released.copied(tmp_path)
    before = pointer(again.model)
    (again.model / "promoted.json").unlink()

    ended = graft("run", **again.settings)

    assert (ended.code, ended.result["status"], ended.result["promoted"]) == (0, "unchanged", True)
    assert pointer(again.model) == before


def test_leftovers_of_a_run_that_was_cut_off_after_the_manifest_are_cleared(
    released: Released, tmp_path: Path
) -> None:
    again = released.copied(tmp_path)
    left = again.model / "runs" / released.folder.name / "checkpoints" / "00000001-00.npz"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"state")

    assert graft("run", **again.settings).code == 0
    assert not left.exists()


def test_a_damaged_pointer_to_the_only_release_is_mended(
    released: Released, tmp_path: Path
) -> None:
    again = released.copied(tmp_path)
    (again.model / "promoted.json").write_text("{")

    ended = graft("run", **again.settings)

    assert (ended.code, ended.result["status"], ended.result["promoted"]) == (0, "unchanged", True)
    assert pointer(again.model)["run_id"] == ended.result["run_id"]


# --- something new ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grown:
    """Two runs at once over new and old images, with a solved head and an earlier champion."""

    settings: dict[str, str]
    model: Path
    first: str
    both: tuple[Ended, Ended]

    @property
    def run_id(self) -> str:
        return self.both[0].result["run_id"]

    @property
    def manifest(self) -> dict[str, Any]:
        return json.loads((self.model / "releases" / self.run_id / "manifest.json").read_text())


@pytest.fixture(scope="session")
def grown(released: Released, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Grown:
    folder = tmp_path_factory.mktemp("grown")
    copy = released.copied(folder)
    shutil.copytree(pictures, folder / "pictures")
    draw(folder / "pictures", per_class=24, seed=8)
    settings = copy.settings | {
        "GRAFT_DATASET_URI": (folder / "pictures").as_uri(),
        "GRAFT_HEAD_UNITS": "0",
    }
    settings |= UNMEASURED | ONE_FORMAT
    processes = [run_of("run", environment=settings) for _ in range(2)]
    outputs = [process.communicate(timeout=400) for process in processes]
    first, second = (Ended(p.returncode, *o) for p, o in zip(processes, outputs, strict=True))
    return Grown(settings, copy.model, released.folder.name, (first, second))


def test_two_runs_of_one_name_at_once_both_end_well_with_one_release(grown: Grown) -> None:
    assert [ended.code for ended in grown.both] == [0, 0]
    assert {ended.result["run_id"] for ended in grown.both} == {grown.run_id}
    assert {ended.result["release"] for ended in grown.both} == {
        (grown.model / "releases" / grown.run_id).as_uri()
    }
    assert {path.name for path in (grown.model / "releases").iterdir()} == {
        grown.first,
        grown.run_id,
    }
    publish.verify((grown.model / "releases" / grown.run_id).as_uri())


def test_new_images_train_again_and_are_compared_with_the_champion(grown: Grown) -> None:
    manifest = grown.manifest
    assert grown.run_id != grown.first
    assert sum(manifest["data"]["images"].values()) == 108
    assert manifest["previous"] is not None
    comparison = manifest["promotion"]["comparison"]
    assert comparison["images"] > 0
    assert {"challenger", "champion"} <= comparison.keys()
    assert manifest["promotion"]["decision"] == (
        "promote" if grown.both[0].result["promoted"] else "keep"
    )
    report = json.loads((grown.model / "releases" / grown.run_id / "report.json").read_text())
    assert report["promotion"] == manifest["promotion"]
    reasons = {ended.result["reason"] for ended in grown.both}
    assert reasons == {manifest["promotion"]["reason"]}


def test_old_images_stay_in_their_part(grown: Grown) -> None:
    def parts(run_id: str) -> dict[str, str]:
        images = json.loads((grown.model / "releases" / run_id / "dataset.json").read_text())[
            "images"
        ]
        return {image["sha256"]: image["split"] for image in images}

    before, after = parts(grown.first), parts(grown.run_id)
    assert {
        digest for digest, part in before.items() if part == "train" and after[digest] == "test"
    } == set()


def test_promote_rolls_back_to_an_earlier_release_and_forth(grown: Grown, tmp_path: Path) -> None:
    shutil.copytree(grown.model, tmp_path / "colours")
    releases = (tmp_path / "colours" / "releases").as_uri()

    for run_id in (grown.first, grown.run_id):
        ended = graft("promote", f"{releases}/{run_id}")
        assert (ended.code, ended.out) == (0, f"{releases}/{run_id} is the champion.\n")
        assert pointer(tmp_path / "colours")["run_id"] == run_id
        assert pointer(tmp_path / "colours")["by"] == "manual"

    refused = graft("promote", f"{releases}/0000")
    assert refused.code == 1
    assert graft("promote", (tmp_path / "colours").as_uri()).code == 2
    assert pointer(tmp_path / "colours")["run_id"] == grown.run_id


def test_a_roll_back_by_hand_outlives_the_next_night(grown: Grown, tmp_path: Path) -> None:
    shutil.copytree(grown.model, tmp_path / "colours")
    releases = (tmp_path / "colours" / "releases").as_uri()
    settings = grown.settings | {"GRAFT_OUTPUT_URI": tmp_path.as_uri()}
    assert grown.manifest["promotion"]["decision"] == "promote"
    assert pointer(tmp_path / "colours")["run_id"] == grown.run_id
    assert graft("promote", f"{releases}/{grown.first}").code == 0
    chosen = pointer(tmp_path / "colours")

    night = graft("run", **settings)

    assert (night.code, night.result["status"], night.result["promoted"]) == (0, "unchanged", False)
    assert night.result["run_id"] == grown.run_id
    stays = f"the champion was chosen by hand: releases/{grown.first} stays; `graft promote"
    assert night.result["reason"] == f"{stays}` makes this release the champion"
    said = [line["message"] for line in night.log]
    assert f"{stays} {releases}/{grown.run_id}` makes this release the champion" in said
    assert pointer(tmp_path / "colours") == chosen


# --- the gate -----------------------------------------------------------------------------------


def test_a_model_below_the_gate_is_kept_and_not_promoted(
    tiny: dict[str, str], tmp_path: Path
) -> None:
    brief = {"GRAFT_TRAINING_EPOCHS": "1", "GRAFT_GATE_MIN_SCORE": "1"}
    settings = tiny | STEPS | UNMEASURED | ONE_FORMAT | brief
    settings |= {"GRAFT_OUTPUT_URI": tmp_path.as_uri()}

    ended = graft("run", **settings)

    assert (ended.code, ended.result["status"], ended.result["promoted"]) == (
        6,
        "below_gate",
        False,
    )
    assert not (tmp_path / "colours" / "promoted.json").exists()
    publish.verify(ended.result["release"])

    lower = graft(
        "run", **settings | {"GRAFT_GATE_MIN_SCORE": "0"}
    )  # a person who lowers the gate promotes by hand
    assert (lower.code, lower.result["status"], lower.result["promoted"]) == (0, "unchanged", False)
    assert graft("promote", ended.result["release"]).code == 0
    assert pointer(tmp_path / "colours")["by"] == "manual"

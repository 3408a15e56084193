"""Nights after the first with new images: two at once, a champion, a roll-back, a gate."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from job import publish
from tests.pipeline.conftest import ONE_FORMAT, STEPS, Ended, Released, draw, graft, run_of
from tests.pipeline.test_again import read_pointer

pytestmark = pytest.mark.runs


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
    settings |= ONE_FORMAT
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
    assert report["champion"] == grown.first
    page = grown.model / "releases" / grown.run_id / "report.html"
    (link,) = re.findall(r'href="(\.\./[^"]+)"', page.read_text())
    assert (page.parent / link).resolve() == (
        grown.model / "releases" / grown.first / "report.html"
    )
    reasons = {ended.result["reason"] for ended in grown.both}
    assert reasons == {manifest["promotion"]["reason"]}


def test_what_is_measured_while_the_export_runs_is_in_the_report(grown: Grown) -> None:
    report = json.loads((grown.model / "releases" / grown.run_id / "report.json").read_text())
    measurement = report["measurement"]
    assert measurement["curve"][-1]["images"] == measurement["images"] > 0
    assert measurement["profile"][-1]["stage"] == "all stages"
    assert report["suspects"]["images"] == 108


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
        assert read_pointer(tmp_path / "colours")["run_id"] == run_id
        assert read_pointer(tmp_path / "colours")["by"] == "manual"

    refused = graft("promote", f"{releases}/0000")
    assert refused.code == 2
    assert graft("promote", (tmp_path / "colours").as_uri()).code == 2
    assert read_pointer(tmp_path / "colours")["run_id"] == grown.run_id


def test_a_roll_back_by_hand_outlives_the_next_night(grown: Grown, tmp_path: Path) -> None:
    shutil.copytree(grown.model, tmp_path / "colours")
    releases = (tmp_path / "colours" / "releases").as_uri()
    settings = grown.settings | {"GRAFT_OUTPUT_URI": tmp_path.as_uri()}
    assert grown.manifest["promotion"]["decision"] == "promote"
    assert read_pointer(tmp_path / "colours")["run_id"] == grown.run_id
    assert graft("promote", f"{releases}/{grown.first}").code == 0
    chosen = read_pointer(tmp_path / "colours")

    night = graft("run", **settings)

    assert (night.code, night.result["status"], night.result["promoted"]) == (0, "unchanged", False)
    assert night.result["run_id"] == grown.run_id
    stays = f"the champion was chosen by hand: releases/{grown.first} stays; `graft promote"
    assert night.result["reason"] == f"{stays}` makes this release the champion"
    said = [line["message"] for line in night.log]
    assert f"{stays} {releases}/{grown.run_id}` makes this release the champion" in said
    assert read_pointer(tmp_path / "colours") == chosen


def test_a_model_below_the_gate_is_kept_and_not_promoted(
    tiny: dict[str, str], tmp_path: Path
) -> None:
    brief = {"GRAFT_TRAINING_EPOCHS": "1", "GRAFT_GATE_MIN_SCORE": "1"}
    settings = tiny | STEPS | ONE_FORMAT | brief
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
    assert read_pointer(tmp_path / "colours")["by"] == "manual"

"""Nights after the first without anything new: unchanged, below the gate, or cut off before."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.conftest import (
    Ended,
    Released,
    graft,
    run_of,
)

pytestmark = pytest.mark.runs


def read_pointer(model: Path) -> dict[str, Any]:
    return json.loads((model / "promoted.json").read_text())


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
    before = read_pointer(again.model)
    (again.model / "promoted.json").unlink()

    ended = graft("run", **again.settings)

    assert (ended.code, ended.result["status"], ended.result["promoted"]) == (0, "unchanged", True)
    assert read_pointer(again.model) == before


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
    assert read_pointer(again.model)["run_id"] == ended.result["run_id"]

"""One run as a user meets it: a folder of images in, a verified release out."""

import csv
import json
import re
import runpy
import shutil
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from job import pipeline
from tests.pipeline.conftest import Released, files_of, graft

FILES = {
    "dataset.json",
    "history.csv",
    "labels.json",
    "model-card.md",
    "model.keras",
    "preprocess.json",
    "preprocess.py",
    "report.html",
    "report.json",
    "saved_model/1/saved_model.pb",
    "saved_model/1/variables/variables.data-00000-of-00001",
    "saved_model/1/variables/variables.index",
}


def test_a_release_holds_every_file_of_the_design_and_its_log(released: Released) -> None:
    there = {
        path.relative_to(released.folder).as_posix()
        for path in released.folder.rglob("*")
        if path.is_file()
    }

    assert set(released.manifest["files"]) == FILES
    logs = there - FILES - {"manifest.json"}
    assert any(
        re.fullmatch(r"logs/tensorboard/probe/events\.out\.tfevents\..+", name) for name in logs
    )
    assert "logs/log.jsonl" in logs
    assert all(name.startswith("logs/") for name in logs)


def test_the_manifest_says_what_the_model_came_from(released: Released) -> None:
    manifest, result = released.manifest, released.ended.result

    assert (manifest["schema"], manifest["name"], manifest["run_id"]) == (
        1,
        "colours",
        result["run_id"],
    )
    assert manifest["data"]["classes"] == ["blue", "green", "red"]
    assert sum(manifest["data"]["images"].values()) == 36
    assert manifest["data"]["left_out"] == 0
    assert manifest["plan"]["mode"] == result["plan"] == "none"
    assert manifest["scores"]["accuracy"] == pytest.approx(result["scores"]["accuracy"], abs=1e-6)
    assert manifest["exact"] is True
    assert manifest["previous"] is None
    assert manifest["versions"].keys() >= {"code", "graft", "keras", "python", "tensorflow"}
    assert manifest["settings"]["GRAFT_HEAD_UNITS"] == 16
    assert manifest["weights"]["origin"]
    written = datetime.fromtimestamp((released.folder / "manifest.json").stat().st_mtime, UTC)
    assert 0 <= (written - datetime.fromisoformat(manifest["created"])).total_seconds() < 60
    assert manifest["created"].endswith("Z")
    # Those of the phase that writes the manifest are not over.
    assert {**result["seconds"], **manifest["seconds"]} == pytest.approx(
        result["seconds"] | {"release": manifest["seconds"]["release"]}, abs=0.001
    )
    assert manifest["seconds"]["release"] <= result["seconds"]["release"]
    assert (len(manifest["devices"]), manifest["workers"]) == (1, 1)
    assert "CPU" in manifest["devices"][0]
    assert "threads" in manifest["machine"]
    assert not {"AWS_SECRET_ACCESS_KEY", "GRAFT_OUTPUT_URI"} & manifest["settings"].keys()


def test_the_companions_of_the_model_agree_with_each_other(released: Released) -> None:
    report = json.loads((released.folder / "report.json").read_text())
    images = json.loads((released.folder / "dataset.json").read_text())["images"]
    history = list(csv.DictReader((released.folder / "history.csv").read_text().splitlines()))

    assert json.loads((released.folder / "labels.json").read_text()) == ["blue", "green", "red"]
    assert len(images) == 36
    parts = [image["split"] for image in images]
    assert {part: parts.count(part) for part in ("train", "val", "test")} == released.manifest[
        "data"
    ]["images"]
    assert [row["epoch"] for row in history] == [str(epoch) for epoch in range(1, 41)]
    assert report["test"]["accuracy"] == pytest.approx(released.manifest["scores"]["accuracy"])
    assert report["plan"] == released.manifest["plan"]


def test_a_batch_larger_than_the_data_set_is_one_padded_step_an_epoch(released: Released) -> None:
    assert (
        int(released.settings["GRAFT_TRAINING_BATCH_SIZE"])
        > released.manifest["data"]["images"]["train"]
    )
    # A step in each of the epochs.
    assert "\ngraft_step_seconds_count 40.0\n" in released.ended.seen["/metrics"]


def test_the_first_release_that_passes_is_the_champion(released: Released) -> None:
    pointer = json.loads((released.model / "promoted.json").read_text())

    assert released.ended.result["promoted"] is True
    assert pointer["run_id"] == released.ended.result["run_id"]
    assert pointer["release"] == f"releases/{pointer['run_id']}"


def test_the_working_state_is_gone_after_the_release(released: Released) -> None:
    assert {path.name for path in released.model.iterdir()} == {"promoted.json", "releases"}


def test_each_folder_of_the_cache_is_swept_or_never_holds_a_partial_file(
    released: Released,
) -> None:
    cache = Path(released.settings["GRAFT_CACHE_DIR"])
    made = {path.name for path in cache.iterdir() if path.is_dir()}
    assert "audit" in made
    assert made <= {*pipeline.SWEPT, "index", "objects"}


def test_the_result_is_the_last_line_and_in_its_file(released: Released) -> None:
    result = released.ended.result

    assert result["status"] == "released"
    assert result["release"] == released.folder.as_uri()
    assert result["error"] is None
    assert list(result["seconds"])[:2] == ["survey", "dataset"]
    assert list(result["seconds"])[-1] == "release"
    in_file = json.loads((released.model.parent / "result" / "r.json").read_text())
    assert result == in_file
    assert json.loads(released.ended.err.splitlines()[-1])["severity"] == "INFO"
    assert released.ended.out == ""


def test_the_reason_of_a_decision_stands_wherever_a_run_reports(released: Released) -> None:
    reason = "It passes the gate, and there is no champion yet."
    report = json.loads((released.folder / "report.json").read_text())

    assert released.ended.result["reason"] == reason
    assert report["promotion"] == released.manifest["promotion"]
    assert report["promotion"]["reason"] == reason
    facts = json.loads(released.ended.seen["/live.json"])["facts"]
    assert facts["promotion"] == f"promoted: {reason}"
    said = [line["message"] for line in released.ended.log]
    assert said.count(f"promoted: {reason}") == 1


def test_a_run_can_be_watched_while_it_works(released: Released) -> None:
    pages = released.ended.seen

    assert re.search(r"^graft_\w+(\{.*\})? [0-9.e+-]+$", pages["/metrics"], re.MULTILINE)
    assert 'name="colours"' in pages["/metrics"] or 'model="colours"' in pages["/metrics"]
    assert pages["/healthz"]
    assert pages["/"].startswith("<!doctype html>")
    assert "MobileNet at 32 px" in pages["/live.json"]


def test_a_release_verifies_and_a_damaged_byte_is_found_and_named(
    released: Released, tmp_path: Path
) -> None:
    copy = released.copied(tmp_path)
    sound = graft("verify", copy.folder.as_uri())
    assert (sound.code, sound.err) == (0, "")
    assert "12 files" in sound.out

    path = copy.folder / "saved_model/1/variables/variables.data-00000-of-00001"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)

    damaged = graft("verify", copy.model.as_uri())  # by the champion's pointer
    assert damaged.code == 1
    assert "saved_model/1/variables/variables.data-00000-of-00001" in damaged.err


def test_predictions_agree_with_the_report(
    released: Released, pictures: Path, tmp_path: Path
) -> None:
    images = json.loads((released.folder / "dataset.json").read_text())["images"]
    paths = {sha256(path.read_bytes()).hexdigest(): path for path in pictures.rglob("*.png")}
    tested = {
        str(paths[image["sha256"]]): image["label"] for image in images if image["split"] == "test"
    }
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")

    ended = graft("predict", released.model.as_uri(), *tested, str(broken), "--json", "--top", "2")

    assert ended.code == 3, ended.err
    rows = {row["image"]: row for row in map(json.loads, ended.out.splitlines())}
    right = [
        max(rows[path]["top"], key=rows[path]["top"].get) == label for path, label in tested.items()
    ]
    assert sum(right) / len(right) == pytest.approx(released.manifest["scores"]["accuracy"])
    assert all(len(rows[path]["top"]) == 2 for path in tested)
    assert "decodes" in rows[str(broken)]["error"]


def test_the_snippets_of_the_model_card_run(
    released: Released, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(released.folder, tmp_path, dirs_exist_ok=True)
    shutil.copy(next(pictures.rglob("*.png")), tmp_path / "photo.jpg")
    snippets = re.findall(
        r"```python\n(.*?)```", (tmp_path / "model-card.md").read_text(), re.DOTALL
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    answers: list[Any] = []
    for number, snippet in enumerate(snippets):
        (tmp_path / f"snippet{number}.py").write_text(snippet)
        answers.append(runpy.run_path(f"snippet{number}.py")["probabilities"])

    assert len(answers) == 2
    first, second = (list(map(float, answer[0])) for answer in answers)
    assert first == pytest.approx(second, abs=1e-3)
    assert sum(first) == pytest.approx(1, abs=1e-5)


def test_a_bucket_holds_nothing_beside_the_release(released: Released) -> None:
    named = {
        f"releases/{released.folder.name}/{name}"
        for name in [*released.manifest["files"], "manifest.json"]
    }
    others = files_of(released.model.as_uri()).keys() - named
    assert {name for name in others if "/logs/" not in name} == {"promoted.json"}

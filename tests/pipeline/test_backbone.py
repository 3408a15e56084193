"""`GRAFT_BACKBONE_NAME=auto`: the run chooses its backbone, and everything after it takes it."""

import json
import signal
from pathlib import Path
from subprocess import Popen

import pytest

from tests.pipeline.conftest import Ended, graft, graft_until
from tests.pipeline.test_together import Site
from tools.photographs import ensure_weights

pytestmark = pytest.mark.runs

CANDIDATES = ("EfficientNetLite0", "EfficientNetLite1")


@pytest.fixture(scope="session")
def auto(tiny: dict[str, str]) -> dict[str, str]:
    """Two candidates with ImageNet's weights, at 32 px."""
    files = [ensure_weights(name) for name in CANDIDATES]
    return tiny | {
        "GRAFT_BACKBONE_NAME": "auto",
        "GRAFT_BACKBONE_CANDIDATES": ",".join(CANDIDATES),
        "GRAFT_BACKBONE_WEIGHTS": "imagenet",
        "GRAFT_EXPORT_FORMATS": "saved_model",
        "KERAS_HOME": str(files[0].parents[1]),
    }


@pytest.fixture(scope="session")
def chosen(auto: dict[str, str], workshop: Path) -> tuple[Ended, Path]:
    """A run, and the folder of its model."""
    output = workshop / "chosen"
    ended = graft("run", **auto, GRAFT_OUTPUT_URI=output.as_uri())
    assert ended.code == 0, ended.err
    return ended, output / "colours"


def read_release(ended: Ended, model: Path, name: str) -> dict[str, object]:
    folder = model / "releases" / ended.result["run_id"]
    content: dict[str, object] = json.loads((folder / name).read_text())
    return content


def test_a_release_says_what_was_asked_and_what_was_chosen(chosen: tuple[Ended, Path]) -> None:
    manifest = read_release(*chosen, "manifest.json")
    report = read_release(*chosen, "report.json")
    settings, backbone = manifest["settings"], manifest["backbone"]
    assert isinstance(settings, dict)
    assert isinstance(backbone, dict)
    assert settings["GRAFT_BACKBONE_NAME"] == "auto"
    assert settings["GRAFT_BACKBONE_CANDIDATES"] == list(CANDIDATES)
    assert (backbone["rule"], backbone["image_size"]) == ("measured", 32)
    assert report["backbone"] == backbone["name"]
    assert report["backbones"] == backbone["candidates"]
    assert [row["name"] for row in backbone["candidates"]] == list(CANDIDATES)
    assert [row["name"] for row in backbone["candidates"] if row["chosen"]] == [backbone["name"]]
    # Which of them it was is also known from the weights that it started with.
    weights = manifest["weights"]
    assert isinstance(weights, dict)
    assert weights["origin"].startswith(f"efficientnet_lite{backbone['name'][-1]}.")


def test_the_log_says_why_and_nothing_is_left_beside_the_release(
    chosen: tuple[Ended, Path],
) -> None:
    ended, model = chosen
    messages = [record["message"] for record in ended.log]
    assert any("was chosen: EfficientNetLite" in message for message in messages)
    assert not list(model.glob("runs/**/backbone.json"))


def test_a_resumed_run_keeps_the_backbone_that_was_chosen(
    auto: dict[str, str], tmp_path: Path
) -> None:
    settings = auto | {"GRAFT_OUTPUT_URI": tmp_path.as_uri()}

    def terminate(process: Popen[str]) -> None:
        process.send_signal(signal.SIGTERM)

    interrupted = graft_until("weights begins", terminate, **settings)
    assert interrupted.code == 75
    (kept,) = tmp_path.glob("colours/runs/*/checkpoints/backbone.json")
    choice = json.loads(kept.read_text())
    # As on a machine where the milliseconds had spoken for the other one.
    (other,) = set(CANDIDATES) - {choice["name"]}
    kept.write_text(json.dumps(choice | {"name": other}))
    resumed = graft("run", **settings)
    assert resumed.code == 0, resumed.err
    report = read_release(resumed, tmp_path / "colours", "report.json")
    assert report["backbone"] == other
    assert not kept.exists()


def test_a_plan_shows_each_candidate_and_leaves_nothing(
    auto: dict[str, str], tmp_path: Path
) -> None:
    ended = graft("plan", **auto, GRAFT_OUTPUT_URI=(tmp_path / "out").as_uri())
    assert ended.code == 0, ended.err
    assert "Backbone:  EfficientNetLite" in ended.out
    for name in CANDIDATES:
        assert f"           {name}" in ended.out
    assert "million parameters" in ended.out
    assert not list(tmp_path.rglob("*.json"))


def test_a_check_looks_for_the_weights_of_every_candidate(
    auto: dict[str, str], tmp_path: Path
) -> None:
    here = {"GRAFT_OUTPUT_URI": (tmp_path / "out").as_uri()}
    found = graft("check", **auto | here)
    assert found.code == 0, found.out
    assert "one of EfficientNetLite0, EfficientNetLite1" in found.out
    assert "efficientnet_lite0" in found.out
    assert "efficientnet_lite1" in found.out

    (tmp_path / "models").mkdir()
    lite0 = Path(auto["KERAS_HOME"]) / "models" / "efficientnet_lite0.weights.h5"
    (tmp_path / "models" / lite0.name).symlink_to(lite0)
    missing = graft("check", **auto | here | {"KERAS_HOME": str(tmp_path)})
    assert missing.code == 4
    assert "1 of 2 candidates" in missing.out
    assert "EfficientNetLite1: EfficientNetLite1 needs its ImageNet weights" in missing.out


def test_two_workers_train_the_backbone_that_the_chief_has_chosen(
    auto: dict[str, str], tmp_path: Path
) -> None:
    # A head that is trained by steps, so that both have something to do.
    steps = {"GRAFT_HEAD_UNITS": "8", "GRAFT_TRAINING_EPOCHS": "2"}
    site = Site(tmp_path, auto | steps)
    try:
        chief, other = (worker.ended() for worker in site.both())
    finally:
        site.close()
    assert (chief.code, other.code) == (0, 0), chief.err
    assert chief.result["release"] == other.result["release"]
    assert "was chosen: EfficientNetLite" in chief.err
    assert "was chosen: EfficientNetLite" not in other.err
    report = read_release(chief, tmp_path / "bucket" / "colours", "report.json")
    assert report["backbone"] in CANDIDATES
    assert report["backbones"]

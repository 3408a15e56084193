"""What can be wrong, each through the command line: a clear message and the right exit code."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import FaultyProxy
from tests.pipeline.conftest import (
    Ended,
    Lake,
    Released,
    draw,
    files_of,
    graft,
    graft_until,
)


def refused(ended: Ended, code: int) -> dict[str, Any]:
    """What was said, after checks that hold for every refusal."""
    error = ended.result["error"]
    assert ended.code == code, ended.err[-2000:]
    assert ended.result["status"] == "failed"
    assert ended.result["release"] is None
    assert ended.result["promoted"] is False
    assert error["message"]
    assert error["cure"]
    assert "Traceback" not in ended.err
    (logged,) = (record for record in ended.log if record["severity"] == "ERROR")
    assert logged["fields"] == {
        "kind": error["kind"],
        "cure": error["cure"],
        "exit_code": code,
    }
    return error


# --- settings -----------------------------------------------------------------------------------


def test_a_misspelt_setting_is_refused_before_anything_begins(
    tiny: dict[str, str], tmp_path: Path
) -> None:
    settings = tiny | {"GRAFT_OUTPUT_URI": (tmp_path / "out").as_uri(), "GRAFT_TRAINING_EPOCS": "3"}
    error = refused(graft("run", **settings), 2)
    assert error["kind"] == "settings"
    assert (
        "GRAFT_TRAINING_EPOCS is unknown; the nearest setting is GRAFT_TRAINING_EPOCHS."
        in error["message"]
    )
    assert not (tmp_path / "out").exists()


def test_two_problems_are_told_at_once_and_in_the_result_file_too(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "result.json"
    ended = graft(
        "run",
        GRAFT_TRAINING_EPOCHS="0",
        GRAFT_OUTPUT_URI="s3://models",
        GRAFT_RESULT_PATH=str(path),
    )
    error = refused(ended, 2)
    assert error["message"].startswith("2 settings cannot work:")
    assert "GRAFT_DATASET_URI is required and not set." in error["message"]
    assert "GRAFT_TRAINING_EPOCHS='0'" in error["message"]
    assert json.loads(path.read_text()) == ended.result
    assert ended.err.count("\n") == 2


def test_an_image_size_below_the_least_of_the_backbone_is_refused_with_the_least(
    tiny: dict[str, str], tmp_path: Path
) -> None:
    settings = {"GRAFT_OUTPUT_URI": tmp_path.as_uri(), "GRAFT_BACKBONE_NAME": "Xception"}
    assert "use 71 or more" in refused(graft("run", **tiny | settings), 2)["message"]


# --- the store ----------------------------------------------------------------------------------


@pytest.fixture
def cloud(tiny: dict[str, str], bucket: str) -> dict[str, str]:
    """Settings of a run from a folder into a bucket, with what the AWS SDK needs."""
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return tiny | aws | {"GRAFT_OUTPUT_URI": bucket, "AWS_MAX_ATTEMPTS": "2"}


@pytest.mark.parametrize(
    ("name", "uri", "code"),
    [
        ("GRAFT_OUTPUT_URI", "s3://no-such-bucket/models", 2),
        ("GRAFT_DATASET_URI", "s3://no-such-bucket/cats", 3),
        ("GRAFT_DATASET_URI", "{bucket}/no/such/prefix", 3),
    ],
)
def test_a_bucket_or_prefix_that_is_not_there_is_named(
    cloud: dict[str, str], bucket: str, name: str, uri: str, code: int
) -> None:
    uri = uri.format(bucket=bucket)
    error = refused(graft("run", **cloud | {name: uri}), code)
    assert uri.split("/")[2] in error["message"]


def test_no_permission_is_a_matter_of_settings_and_shows_no_secret(
    cloud: dict[str, str], faulty: FaultyProxy
) -> None:
    faulty.fail("PUT", status=403, code="AccessDenied")
    ended = graft("run", **cloud | {"AWS_ENDPOINT_URL_S3": faulty.address})
    assert refused(ended, 2)["kind"] == "storeforbidden"
    assert cloud["AWS_SECRET_ACCESS_KEY"] not in ended.err


def test_an_endpoint_where_nobody_listens_is_worth_a_retry(cloud: dict[str, str]) -> None:
    error = refused(graft("run", **cloud | {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}), 75)
    assert error["kind"] == "storeunavailable"


@pytest.mark.runs
def test_a_store_that_goes_away_in_the_middle_is_worth_a_retry_and_leaves_nothing_half_written(
    cloud: dict[str, str], bucket: str, faulty: FaultyProxy
) -> None:
    def away(_: object) -> None:
        faulty.fail(status=503, code="ServiceUnavailable")

    settings = cloud | {"AWS_ENDPOINT_URL_S3": faulty.address}
    ended = graft_until("training begins", away, **settings)

    assert refused(ended, 75)["kind"] == "storeunavailable"
    faulty.faults.clear()
    assert not any("manifest.json" in key or "promoted" in key for key in files_of(bucket))


# --- the images ---------------------------------------------------------------------------------


def test_a_cache_that_is_too_small_is_refused_with_the_size_to_ask_for(
    cloud: dict[str, str], lake: Lake, tmp_path: Path
) -> None:
    settings = lake.environment | {
        "GRAFT_DATASET_URI": f"{lake.uri}/data",
        "GRAFT_CACHE_LIMIT": "1000",
        "GRAFT_CACHE_DIR": str(tmp_path / "cache"),
    }
    error = refused(graft("run", **cloud | settings), 2)
    assert "GRAFT_CACHE_LIMIT" in error["message"] + error["cure"]
    assert not [
        path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix == ".png"
    ]


def test_one_class_with_one_image_is_told_as_two_problems(
    tiny: dict[str, str], tmp_path: Path
) -> None:
    draw(tmp_path / "pictures", per_class=1, classes=1)
    settings = {
        "GRAFT_DATASET_URI": (tmp_path / "pictures").as_uri(),
        "GRAFT_OUTPUT_URI": (tmp_path / "out").as_uri(),
    }
    error = refused(graft("run", **tiny | settings), 3)
    assert error["kind"] == "dataset"
    assert "a classifier needs at least 2" in error["message"]
    assert "class 'blue' has 1 distinct" in error["message"]
    assert files_of((tmp_path / "out").as_uri()) == {}


# --- the weights --------------------------------------------------------------------------------


def test_weights_of_another_architecture_are_named_for_what_they_are(
    tiny: dict[str, str], tmp_path: Path
) -> None:
    settings = {
        "GRAFT_BACKBONE_NAME": "MobileNetV2",
        "GRAFT_OUTPUT_URI": (tmp_path / "out").as_uri(),
    }
    error = refused(graft("run", **tiny | settings), 4)
    assert "is MobileNet's, not MobileNetV2's" in error["message"]
    assert files_of((tmp_path / "out").as_uri()) == {}


@pytest.mark.runs
def test_weights_that_changed_since_the_last_release_are_refused(
    released: Released, pictures: Path, tmp_path: Path
) -> None:
    copy = released.copied(tmp_path)
    path = copy.folder / "manifest.json"
    path.write_text(
        json.dumps({**copy.manifest, "weights": {**copy.manifest["weights"], "sha256": "0" * 64}})
    )
    shutil.copytree(pictures, tmp_path / "pictures")
    draw(tmp_path / "pictures", per_class=4, seed=9)

    error = refused(
        graft("run", **copy.settings | {"GRAFT_DATASET_URI": (tmp_path / "pictures").as_uri()}), 4
    )
    assert "mobile.weights.h5" in error["message"]


# --- training -----------------------------------------------------------------------------------


@pytest.mark.runs
def test_a_training_that_diverges_ends_with_5_and_the_step(
    tiny: dict[str, str], tmp_path: Path
) -> None:
    settings = {
        **tiny,
        "GRAFT_BACKBONE_NAME": "VGG16",
        "GRAFT_BACKBONE_WEIGHTS": "none",
        "GRAFT_TRANSFER_MODE": "all",
        "GRAFT_TRANSFER_PROBE": "false",
        "GRAFT_TRAINING_LEARNING_RATE": "10",
        "GRAFT_TRAINING_SCHEDULE": "constant",
        "GRAFT_TRAINING_CLIP_NORM": "0",
        "GRAFT_TRAINING_BATCH_SIZE": "8",
        "GRAFT_OUTPUT_URI": tmp_path.as_uri(),
    }
    error = refused(graft("run", **settings), 5)
    assert error["kind"] == "diverged"
    assert "step" in error["message"]
    assert not any("manifest.json" in key for key in files_of(tmp_path.as_uri()))

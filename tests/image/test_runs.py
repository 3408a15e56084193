"""The image at work under the chart's restrictions, as its own user and as one of OpenShift."""

import json
import shutil
from pathlib import Path

import pytest

from job import publish
from job.catalogue import BACKBONES
from tests.image.conftest import RUN, VARIANT, Sandbox
from tools.image.build import ImageOptions, build
from tools.image.debian import ensure
from tools.image.engine import Engine
from tools.photographs import ensure_weights

pytestmark = pytest.mark.image

LITE0 = {
    "GRAFT_BACKBONE_NAME": "EfficientNetLite0",
    "GRAFT_BACKBONE_WEIGHTS": "imagenet",
    "GRAFT_TRANSFER_MODE": "none",
}

as_either_user = pytest.mark.parametrize(
    "user", ["", "1000730000:0"], ids=["its own user", "any user of group 0"]
)


@as_either_user
def test_help_is_shown_without_arguments_and_with_them(sandbox: Sandbox, user: str) -> None:
    shown = [sandbox.of(user).graft(*argv) for argv in ([], ["--help"])]
    assert [ended.code for ended in shown] == [0, 0]
    assert all(ended.out.startswith("usage: graft") for ended in shown)


def test_the_cache_is_the_volume_unless_told_otherwise(sandbox: Sandbox) -> None:
    ended = sandbox.graft("settings", **RUN)
    assert ended.code == 0
    assert json.loads(ended.out)["GRAFT_CACHE_DIR"] == "/cache"


def test_a_wrong_setting_ends_with_2_and_says_so_in_the_termination_message(
    sandbox: Sandbox,
) -> None:
    ended = sandbox.graft("run", **RUN, GRAFT_TRAINING_EPOCS="3")
    assert ended.code == 2
    assert json.loads(sandbox.message) == ended.result
    assert (
        "GRAFT_TRAINING_EPOCHS" in ended.result["error"]["message"] + ended.result["error"]["cure"]
    )


@as_either_user
def test_a_run_releases_a_model_that_verifies(sandbox: Sandbox, user: str) -> None:
    ended = sandbox.of(user).graft("run", **RUN)
    assert ended.code == 0, ended.err
    assert json.loads(sandbox.message)["status"] == "released"
    assert (
        publish.verify((sandbox.folder / "bucket" / "colours").as_uri()).manifest.run_id
        == ended.result["run_id"]
    )


def test_sigterm_reaches_the_run_and_ends_it_with_75_and_a_checkpoint(sandbox: Sandbox) -> None:
    name = f"graft-{sandbox.folder.name}"
    with sandbox.started(
        "run", environment=RUN | {"GRAFT_TRAINING_EPOCHS": "80"}, name=name
    ) as process:
        assert process.stderr
        assert any(": epoch 3 " in line for line in process.stderr)
        sandbox.engine.ask("stop", "--time=60", name)
        process.stderr.read()
    assert process.returncode == 75
    assert json.loads(sandbox.message)["status"] == "interrupted"
    assert list(sandbox.folder.glob("bucket/colours/runs/*/checkpoints/*"))


def test_weights_that_were_baked_in_are_found_without_a_network(
    engine: Engine, context: Path, sandbox: Sandbox
) -> None:
    (context / "pretrained").mkdir()
    shutil.copy2(ensure_weights(), context / "pretrained")
    tag = "graft.local/baked:test"
    options = ImageOptions(tag, VARIANT, base=ensure(engine), weights="pretrained")
    build(engine, options, context)
    baked = Sandbox(engine, tag, sandbox.folder)
    ended = baked.graft("run", **RUN | LITE0)
    engine.ask("rmi", tag)
    assert ended.code == 0, ended.err
    (manifest,) = sandbox.folder.glob("bucket/*/releases/*/manifest.json")
    assert (
        json.loads(manifest.read_text())["weights"]["sha256"]
        == BACKBONES["EfficientNetLite0"].file_hash
    )

"""One run with every interruption, on a bucket, against an undisturbed one, on a folder.

SIGTERM in training, then kill -9 in training on another machine, then SIGTERM while exporting, then
left alone: the release must be the same, byte for byte. Each attempt is looked at by tests of its
own.
"""

import json
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import pytest

from job import publish
from tests.pipeline.conftest import STEPS, Ended, Lake, Released, graft, graft_until

pytestmark = pytest.mark.runs

WITH_ADDRESSES = {"report.json", "report.html", "model-card.md"}
"""They name the source of the images."""


def terminate(process: Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)


def kill(process: Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)


@dataclass(frozen=True)
class Attempt:
    """How it ended, and what lay in the bucket below the model's name afterwards."""

    ended: Ended
    bucket: frozenset[str]

    @property
    def states(self) -> list[str]:
        return sorted(key for key in self.bucket if "/checkpoints/" in key)

    @property
    def released(self) -> bool:
        return (
            any(key.endswith("/manifest.json") for key in self.bucket)
            or "promoted.json" in self.bucket
        )

    @property
    def messages(self) -> str:
        return self.ended.err


@dataclass(frozen=True)
class Odyssey:
    model: str
    terminated: Attempt
    killed: Attempt
    exporting: Attempt
    last: Attempt


@pytest.fixture(scope="session")
def odyssey(lake: Lake, tiny: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Odyssey:
    model = f"{lake.uri}/odyssey/colours"
    here = {"GRAFT_DATASET_URI": f"{lake.uri}/data", "GRAFT_OUTPUT_URI": f"{lake.uri}/odyssey"}
    machines = [tmp_path_factory.mktemp("machine") for _ in range(3)]

    def attempt(run: Callable[..., Ended], *how: object, machine: Path, **more: str) -> Attempt:
        settings = tiny | STEPS | here | lake.environment | {"GRAFT_CACHE_DIR": str(machine)} | more
        return Attempt(run(*how, **settings), frozenset(lake.files(model)))

    training, often = r"probe: epoch 3 ", {"GRAFT_CHECKPOINT_INTERVAL_SECONDS": "0"}
    return Odyssey(
        model,
        attempt(graft_until, training, terminate, machine=machines[0]),
        attempt(graft_until, r'checkpoint saved.*"number": 4', kill, machine=machines[1], **often),
        attempt(graft_until, r"export begins", terminate, machine=machines[1]),
        attempt(graft, "run", machine=machines[2]),
    )


def test_sigterm_in_training_ends_with_75_and_a_state_in_the_bucket(odyssey: Odyssey) -> None:
    attempt = odyssey.terminated
    result = attempt.ended.result

    assert attempt.ended.code == 75
    assert result["status"] == "interrupted"
    assert result["error"] == {
        "kind": "interrupted",
        "message": "SIGTERM was received.",
        "cure": "Start the run again: it goes on from its checkpoint.",
    }
    assert result["run_id"]
    assert len(attempt.states) == 1
    assert not attempt.released


def test_kill_9_in_training_leaves_whole_states_and_nothing_else(odyssey: Odyssey) -> None:
    attempt = odyssey.killed
    assert attempt.ended.code == -signal.SIGKILL
    assert (
        1 <= len(attempt.states) <= 3
    )  # two are kept, and the oldest may not have been removed yet
    assert not attempt.released


def test_another_machine_goes_on_from_the_bucket_at_the_very_step(odyssey: Odyssey) -> None:
    first = json.loads(odyssey.terminated.ended.err.splitlines()[-1])
    assert first["status"] == "interrupted"
    assert "resumed at stage 1, epoch" in odyssey.killed.messages
    assert "probe: epoch 1 of" not in odyssey.killed.messages
    assert "resumed at stage 1, epoch" in odyssey.exporting.messages


def test_sigterm_while_exporting_leaves_no_release_and_keeps_the_trained_state(
    odyssey: Odyssey,
) -> None:
    attempt = odyssey.exporting
    assert attempt.ended.code == 75
    assert attempt.ended.result["status"] == "interrupted"
    assert attempt.states
    assert not attempt.released
    assert not any("/releases/" in key for key in attempt.bucket)


def test_training_that_is_over_is_not_repeated(odyssey: Odyssey) -> None:
    assert "probe: epoch" not in odyssey.last.messages
    assert "resumed at stage 2" in odyssey.last.messages


def test_the_end_is_a_promoted_release_and_a_clean_bucket(odyssey: Odyssey, lake: Lake) -> None:
    assert odyssey.last.ended.code == 0
    assert odyssey.last.ended.result["status"] == "released"
    assert odyssey.last.ended.result["promoted"]
    assert odyssey.last.states == []
    assert {key.split("/")[0] for key in odyssey.last.bucket} == {"promoted.json", "releases"}
    with lake.at_hand():
        publish.verify(odyssey.model)


def test_a_run_from_a_bucket_however_interrupted_equals_one_from_a_folder_to_the_byte(
    odyssey: Odyssey, released: Released, lake: Lake
) -> None:
    result, undisturbed = odyssey.last.ended.result, released.ended.result
    manifest = json.loads(lake.files(result["release"])["manifest.json"])

    assert result["run_id"] == undisturbed["run_id"]
    assert result["scores"] == undisturbed["scores"]
    assert manifest["data"]["digest"] == released.manifest["data"]["digest"]
    assert manifest["exact"]
    differing = {
        name
        for name, facts in manifest["files"].items()
        if facts["sha256"] != released.manifest["files"][name]["sha256"]
    }
    assert manifest["files"].keys() == released.manifest["files"].keys()
    assert differing <= WITH_ADDRESSES


def test_the_reports_differ_in_nothing_but_the_address(
    odyssey: Odyssey, released: Released, lake: Lake
) -> None:
    theirs = lake.files(odyssey.last.ended.result["release"])["report.json"].decode()
    ours = (released.folder / "report.json").read_text()
    source = released.settings["GRAFT_DATASET_URI"]
    assert json.loads(theirs.replace("s3://lake/data", source)) == json.loads(ours)


@pytest.mark.parametrize("phase", ["dataset", "audit"])
def test_sigterm_before_training_ends_with_75_and_leaves_nothing_behind(
    phase: str, lake: Lake, tiny: dict[str, str], tmp_path: Path
) -> None:
    settings = (
        tiny
        | lake.environment
        | {
            "GRAFT_DATASET_URI": f"{lake.uri}/data",
            "GRAFT_OUTPUT_URI": f"{lake.uri}/{phase}",
            "GRAFT_CACHE_DIR": str(tmp_path),
        }
    )
    ended = graft_until(rf"{phase} begins", terminate, **settings)

    assert ended.code == 75
    assert ended.result["status"] == "interrupted"
    assert lake.files(f"{lake.uri}/{phase}") == {}

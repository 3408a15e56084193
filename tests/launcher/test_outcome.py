"""The result of a run as the launcher returns it."""

import json
import math

import pytest

from job.launcher import outcome
from job.launcher.objects import Json
from job.result import Result
from job.supervision import Ending
from tests.launcher.objects import (
    MISSPELT,
    RELEASED,
    disrupted,
    ended,
    job,
    pod,
    snapshot,
    terminated,
    waiting,
)

COMPLETE = ended("Complete", "CompletionsReached")
FAILED = ended("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
DEADLINE = ended("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")


def build(status: Json, *pods: Json) -> Result:
    return outcome.build_result(snapshot(job(**status), *pods))


def test_a_released_run_passes_on_its_own_result() -> None:
    result = build(COMPLETE, pod(**terminated(0, RELEASED)))
    assert json.loads(result.to_json()) == json.loads(RELEASED)
    assert result.exit_code == 0
    assert math.isnan(result.scores["log_loss"])


def test_the_reason_that_a_result_gives_is_handed_on() -> None:
    text = json.dumps(
        json.loads(RELEASED)
        | {"status": "unchanged", "promoted": False, "reason": "releases/a stays"}
    )
    assert "releases/a stays" in build(COMPLETE, pod(**terminated(0, text))).summary()


@pytest.mark.parametrize(("written", "known"), [(5, 5), ("many", None), (None, None)])
def test_the_number_of_classes_is_handed_on_if_it_is_one(
    written: object, known: int | None
) -> None:
    text = json.dumps(json.loads(RELEASED) | {"classes": written})
    result = build(COMPLETE, pod(**terminated(0, text)))
    assert result.classes == known
    assert result.summary()


@pytest.mark.parametrize("code", [2, 3, 75])
def test_a_failed_run_passes_on_its_result_and_its_exit_code(code: int) -> None:
    result = build(FAILED, pod(**terminated(code, MISSPELT)))
    assert json.loads(result.to_json()) == json.loads(MISSPELT)
    assert result.exit_code == code


def test_below_the_gate_is_six() -> None:
    text = RELEASED.replace('"released"', '"below_gate"')
    assert build(FAILED, pod(**terminated(6, text))).exit_code == 6


def test_the_result_is_the_last_line_where_the_message_is_the_logs_end() -> None:
    result = build(COMPLETE, pod(**terminated(0, f'{{"message": "a line"}}\n{RELEASED}\n')))
    assert result.release == "s3://models/flowers/releases/34701a43aed1c39a"


@pytest.mark.parametrize(
    "message", ["", "Traceback", "[1]", '{"status": "fine"}', '{"status": "failed"}', "null", "7"]
)
def test_another_last_line_is_not_taken_for_a_result(message: str) -> None:
    assert outcome.parse_result(message) is None


def test_out_of_memory_keeps_the_exit_code_of_the_container() -> None:
    result = build(FAILED, pod(**terminated(137, reason="OOMKilled")))
    assert result.exit_code == 137
    assert result.error
    assert (result.status, result.error.kind) == ("failed", "oomkilled")


def test_a_worker_whose_peer_was_lost_was_interrupted() -> None:
    result = build(FAILED, pod(**terminated(76)))
    assert (result.status, result.exit_code) == ("interrupted", 76)


def test_an_evicted_pod_may_have_no_container_left() -> None:
    evicted = pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory.")
    result = build(FAILED, evicted)
    assert (result.status, result.exit_code) == ("interrupted", 75)
    assert result.error
    assert "low on resource" in result.error.message


def test_a_deadline_without_a_pod_is_temporary() -> None:
    result = build(DEADLINE)
    assert result.error
    assert (result.error.kind, result.exit_code) == ("deadlineexceeded", 75)


def test_a_deadline_keeps_the_reason_of_the_pod_that_never_began() -> None:
    result = build(DEADLINE, pod(**waiting("ImagePullBackOff", "no such image")))
    assert result.error
    assert "no such image" in result.error.message


def test_a_pod_that_succeeded_does_not_save_a_job_that_failed() -> None:
    result = build(DEADLINE, pod(**terminated(0, RELEASED)))
    assert result.status != "released"


def test_a_completed_run_whose_pod_is_gone_is_still_a_success() -> None:
    result = build(COMPLETE)
    assert (result.status, result.exit_code) == ("released", 0)
    assert result.error
    assert "promoted.json" in result.error.cure


def test_an_older_pods_result_is_not_the_runs() -> None:
    first, second = (
        pod("a", **terminated(75, MISSPELT)),
        pod("b", **disrupted("DeletionByTaintManager", "node lost")),
    )
    result = build(FAILED, first, second)
    assert result.error
    assert result.error.kind == "deletionbytaintmanager"


def test_of_a_killed_process_the_cluster_knows_more_than_its_result() -> None:
    text = Ending(code=137, signal=9, finished=False, last_lines=()).outcome.to_json()
    result = build(FAILED, pod(**terminated(137, text, reason="OOMKilled")))
    assert result.error
    assert (result.exit_code, result.error.kind) == (137, "oomkilled")


def test_a_crash_that_the_cluster_cannot_explain_keeps_its_own_result() -> None:
    words = ("terminate called after throwing",)
    text = Ending(code=134, signal=6, finished=False, last_lines=words).outcome.to_json()
    result = build(FAILED, pod(**terminated(134, text, reason="Error")))
    assert result.error
    assert (result.exit_code, result.error.kind) == (134, "killed")
    assert "terminate called" in result.error.message

"""Why a run waits or has ended, read from pods and events as a cluster has them."""

import pytest

from job.launcher import reasons
from job.launcher.objects import Json, Pod
from tests.launcher.objects import (
    RUN,
    disrupted,
    ended,
    event,
    job,
    pod,
    running,
    snapshot,
    terminated,
    unschedulable,
    waiting,
)

POD = f"{RUN}-abcde"


def explain_wait(given: Json | None, *events: Json) -> reasons.Reason:
    pods = [given] if given else []
    found = reasons.explain_wait(snapshot(job(), *pods, events=events))
    assert found
    return found


def explain_pod_end(given: Json) -> reasons.Reason:
    found = reasons.explain_pod_end(Pod.from_json(given))
    assert found
    return found


def test_no_node_has_the_gpu() -> None:
    message = (
        "0/3 nodes are available: 1 Insufficient memory, 2 Insufficient nvidia.com/gpu. "
        "preemption: 0/3."
    )
    reason = explain_wait(pod(**unschedulable(message)))
    assert reason.word == "Unschedulable"
    assert "Insufficient nvidia.com/gpu" in reason.message
    assert "gpus.count" in reason.cure


def test_no_node_has_the_memory() -> None:
    reason = explain_wait(pod(**unschedulable("0/1 nodes are available: 1 Insufficient memory.")))
    assert (reason.word, reason.cure) == ("Unschedulable", reasons.CURES["Unschedulable"])


@pytest.mark.parametrize(
    "word", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"]
)
def test_an_image_that_cannot_be_pulled(word: str) -> None:
    reason = explain_wait(pod(**waiting(word, 'Back-off pulling image "graft:0.1.0"')))
    assert (reason.word, reason.cure) == (word, reasons.IMAGE_CURE)


def test_a_missing_secret_of_a_variable() -> None:
    reason = explain_wait(pod(**waiting("CreateContainerConfigError", 'secret "s3" not found')))
    assert str(reason).startswith(
        'CreateContainerConfigError: secret "s3" not found. Create in this namespace'
    )


def test_a_missing_secret_of_a_volume_is_only_in_the_events() -> None:
    message = 'MountVolume.SetUp failed for volume "credentials" : secret "s3" not found'
    creating = pod(**waiting("ContainerCreating"))
    assert reasons.explain_wait(snapshot(job(), creating)) is None
    reason = explain_wait(
        creating, event("Pod", POD, "FailedMount", message), event("Pod", POD, "Scheduled", "well")
    )
    assert (reason.word, reason.message) == ("FailedMount", message)


def test_a_quota_leaves_no_pod_but_an_event_and_the_last_one_counts() -> None:
    first = event("Job", RUN, "FailedCreate", "serviceaccount not found", at="2026-01-01T00:00:00Z")
    last = event(
        "Job",
        RUN,
        "FailedCreate",
        "Error creating: exceeded quota: gpus",
        at="2026-01-02T00:00:00Z",
    )
    assert explain_wait(None, last, first).message == "Error creating: exceeded quota: gpus"


def test_an_init_container_holds_up_ours() -> None:
    stuck = pod(**waiting("PodInitializing"))
    state = {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}
    stuck["status"]["initContainerStatuses"] = [{"name": "istio-init", "state": state}]
    assert explain_wait(stuck).message == "no such image"


@pytest.mark.parametrize(
    ("labels", "word"), [({}, "Suspended"), ({"kueue.x-k8s.io/queue-name": "q"}, "Queued")]
)
def test_a_suspended_run_says_who_has_to_resume_it(labels: dict[str, str], word: str) -> None:
    suspended = job()
    suspended["spec"]["suspend"] = True
    suspended["metadata"]["labels"] |= labels
    reason = reasons.explain_wait(snapshot(suspended))
    assert reason
    assert reason.word == word


def test_a_run_at_work_waits_for_nothing() -> None:
    assert reasons.explain_wait(snapshot(job(), pod(**running()))) is None
    assert reasons.explain_pod_end(Pod.from_json(pod(**running()))) is None


def test_out_of_memory() -> None:
    reason = explain_pod_end(pod(**terminated(137, reason="OOMKilled")))
    assert reason.word == "OOMKilled"
    assert "GRAFT_TRAINING_BATCH_SIZE" in reason.cure


def test_evicted_for_a_full_volume() -> None:
    message = 'Usage of EmptyDir volume "cache" exceeds the limit "20Gi". '
    reason = explain_pod_end(pod(**terminated(137) | {"reason": "Evicted", "message": message}))
    assert str(reason).startswith(
        'Evicted: Usage of EmptyDir volume "cache" exceeds the limit "20Gi". Raise cache.size'
    )


def test_evicted_by_a_drain() -> None:
    reason = explain_pod_end(pod(**disrupted("EvictionByEvictionAPI", "Eviction API: evicting")))
    assert (reason.word, reason.message) == ("EvictionByEvictionAPI", "Eviction API: evicting")


def test_a_container_that_could_not_start_and_one_that_was_deleted() -> None:
    assert (
        explain_pod_end(
            pod(**terminated(128, reason="StartError", message="exec: no such file"))
        ).word
        == "StartError"
    )
    deleted = pod(**running())
    deleted["metadata"]["deletionTimestamp"] = "2026-01-02T03:05:00Z"
    assert explain_pod_end(deleted).word == "Deleted"


def test_a_program_that_ended_by_itself_needs_no_reason() -> None:
    assert reasons.explain_pod_end(Pod.from_json(pod(**terminated(0)))) is None
    assert reasons.explain_pod_end(Pod.from_json(pod(**terminated(3)))) is None


def test_a_deadline_says_what_the_run_waited_for() -> None:
    stuck = pod(**waiting("ImagePullBackOff", "no such image"))
    over = job(
        **ended("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    )
    reason = reasons.explain_failure(snapshot(over, stuck))
    assert reason.word == "DeadlineExceeded"
    assert "ImagePullBackOff: no such image" in reason.message


def test_a_failed_job_is_explained_by_its_last_pod_else_by_itself() -> None:
    failed = job(
        **ended("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    )
    killed = snapshot(failed, pod(**terminated(137, reason="OOMKilled")))
    assert reasons.explain_failure(killed).word == "OOMKilled"
    ended_itself = snapshot(failed, pod(**terminated(1)))
    assert reasons.explain_failure(ended_itself).word == "BackoffLimitExceeded"
    podless = reasons.explain_failure(snapshot(failed))
    assert podless.cure == reasons.CURES["BackoffLimitExceeded"]

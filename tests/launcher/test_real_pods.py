"""The launcher on a real cluster, with pods that a node runs: `make cluster-up` first.

The container is a shell that does what a run does at its end: it logs, leaves a result and exits.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from kubernetes import client

from job import launcher
from job.launcher.answers import ClusterQuotaExceeded
from job.launcher.objects import Json
from job.launcher.watching import NotStarted
from job.result import Result
from tests.cluster.conftest import api, namespace  # noqa: F401 - fixtures
from tests.cluster.namespace import RESTRICTED, Namespace, eventually
from tests.launcher.objects import MISSPELT, RELEASED, template
from tools.cluster.target import TOOLS_IMAGE

pytestmark = pytest.mark.cluster

LEAVE = "printf '%s' '{}' >/dev/termination-log; exit {}"


@pytest.fixture
def cluster(namespace: Namespace) -> launcher.Cluster:  # noqa: F811
    return launcher.Cluster(lambda: namespace.core.api_client, namespace.name)


@pytest.fixture
def submitted(namespace: Namespace, cluster: launcher.Cluster) -> Callable[..., str]:  # noqa: F811
    """Install the chart's template with a shell in the place of the job, and submit it."""

    def submit(script: str, *, grace: int = 1, key: str | None = None, **container: Json) -> str:
        cron_job = template(namespace=namespace.name)
        del cron_job["metadata"]["uid"]
        pod = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        del pod["serviceAccountName"]
        pod["terminationGracePeriodSeconds"] = grace
        shell = {
            "image": TOOLS_IMAGE,
            "command": ["sh", "-c", script],
            "args": [],
            "securityContext": RESTRICTED,
        }
        pod["containers"][0] |= shell | {"resources": {}} | container
        namespace.batch.create_namespaced_cron_job(namespace.name, cron_job)
        return launcher.submit(cluster, "graft", {}, key).name

    return submit


def watched(cluster: launcher.Cluster, run: str) -> tuple[Result, str]:
    lines: list[str] = []
    result = launcher.watch(cluster, run, lines.append)
    return result, "\n".join(lines)


def test_a_run_passes_on_its_result(
    cluster: launcher.Cluster, submitted: Callable[..., str]
) -> None:
    begins = '{"message": "audit begins", "fields": {"phase": "audit"}}'
    run = submitted(f"echo '{begins}'; sleep 5; {LEAVE.format(RELEASED, 0)}")
    result, lines = watched(cluster, run)
    assert json.loads(result.to_json()) == json.loads(RELEASED)
    assert "audit begins" in lines
    assert list(launcher.follow_logs(cluster, run)) == [begins]


def test_a_run_with_wrong_settings_fails_at_once_with_its_exit_code(
    cluster: launcher.Cluster, submitted: Callable[..., str]
) -> None:
    result, lines = watched(cluster, submitted(LEAVE.format(MISSPELT, 2)))
    assert (result.exit_code, json.loads(result.to_json())) == (2, json.loads(MISSPELT))
    assert "PodFailurePolicy" in lines


def test_out_of_memory_is_named(
    cluster: launcher.Cluster,
    submitted: Callable[..., str],
    namespace: Namespace,  # noqa: F811
) -> None:
    run = submitted("tail /dev/zero", resources={"limits": {"memory": "32Mi"}})
    eventually(lambda: any("OOMKilled" in str(pod.status) for pod in namespace.pods(run)))
    namespace.batch.patch_namespaced_job(
        run, namespace.name, {"spec": {"activeDeadlineSeconds": 1}}
    )
    _, lines = watched(cluster, run)
    assert "OOMKilled" in lines


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({"image": "graft.local/nowhere:1", "imagePullPolicy": "Never"}, "ErrImageNeverPull"),
        ({"resources": {"limits": {"nvidia.com/gpu": "1"}}}, "Insufficient nvidia.com/gpu"),
        ({"envFrom": [{"secretRef": {"name": "missing"}}]}, 'secret "missing" not found'),
    ],
)
def test_a_run_that_cannot_start_says_why(
    cluster: launcher.Cluster, submitted: Callable[..., str], container: Json, words: str
) -> None:
    run = submitted("true", **container)
    with pytest.raises(NotStarted) as late:
        launcher.watch(cluster, run, print, start_timeout=15, cancel=True)
    assert words in late.value.message


def test_a_quota_is_named(
    cluster: launcher.Cluster,
    submitted: Callable[..., str],
    namespace: Namespace,  # noqa: F811
) -> None:
    quota: Json = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    namespace.core.create_namespaced_resource_quota(namespace.name, quota)
    run = submitted("true")
    with pytest.raises(NotStarted, match="exceeded quota"):
        launcher.watch(cluster, run, print, start_timeout=15, cancel=True)


def test_the_log_goes_on_over_an_eviction_and_the_second_pod_gives_the_result(
    cluster: launcher.Cluster,
    submitted: Callable[..., str],
    namespace: Namespace,  # noqa: F811
) -> None:
    run = submitted(
        f"trap 'exit 75' TERM; echo from $HOSTNAME; sleep 15 & wait $!; {LEAVE.format(RELEASED, 0)}"
    )
    log = launcher.follow_logs(cluster, run)
    first = next(log)
    pod = first.removeprefix("from ")
    eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name=pod))
    namespace.core.create_namespaced_pod_eviction(pod, namespace.name, eviction)
    result, lines = watched(cluster, run)
    assert result.status == "released"
    assert "EvictionByEvictionAPI" in lines
    (second,) = log
    assert second.startswith("from ")
    assert second != first


def test_a_quota_of_runs_lets_as_many_in_as_it_has_room_for_and_sends_the_others_away(
    cluster: launcher.Cluster,
    submitted: Callable[..., str],
    namespace: Namespace,  # noqa: F811
) -> None:
    submitted("sleep 60")
    quota: Json = {"metadata": {"name": "few"}, "spec": {"hard": {"count/jobs.batch": "4"}}}
    namespace.core.create_namespaced_resource_quota(namespace.name, quota)
    read = namespace.core.read_namespaced_resource_quota
    eventually(lambda: (read("few", namespace.name).status.used or {}).get("count/jobs.batch"))

    # Many at once also race for the quota itself, which the API server answers with a conflict.
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(launcher.submit, cluster, "graft", {}) for _ in range(8)]
    refused = [future.exception() for future in futures if future.exception()]
    assert len(futures) - len(refused) == 3
    assert {type(error) for error in refused} == {ClusterQuotaExceeded}
    assert ClusterQuotaExceeded.exit_code == 75


def test_a_full_disk_of_the_pod_is_named_with_its_cure(
    cluster: launcher.Cluster,
    submitted: Callable[..., str],
    namespace: Namespace,  # noqa: F811
) -> None:
    disk = {"ephemeral-storage": "20Mi"}
    fill = "dd if=/dev/zero of=/cache/images bs=1M count=60; sleep 300"
    run = submitted(fill, resources={"limits": disk, "requests": disk})
    eventually(lambda: any(pod.status.reason == "Evicted" for pod in namespace.pods(run)), 180)
    namespace.batch.patch_namespaced_job(
        run, namespace.name, {"spec": {"activeDeadlineSeconds": 1}}
    )
    _, lines = watched(cluster, run)
    assert "Evicted" in lines
    assert "Raise cache.size or scratch.size" in lines


def test_a_run_that_is_cancelled_and_submitted_again_is_not_the_pod_that_still_saves(
    cluster: launcher.Cluster,
    submitted: Callable[..., str],
    namespace: Namespace,  # noqa: F811
) -> None:
    save = "trap 'sleep 20; exit 75' TERM; echo from $HOSTNAME; sleep 120 & wait $!"
    run = submitted(save, grace=30, key="workflow-1")
    first = next(launcher.follow_logs(cluster, run))
    cluster.delete_job(run)
    assert launcher.submit(cluster, "graft", {}, "workflow-1").name == run
    second = next(launcher.follow_logs(cluster, run))
    assert second.startswith("from ")
    assert second != first
    assert first.removeprefix("from ") in {pod.metadata.name for pod in namespace.pods(run)}

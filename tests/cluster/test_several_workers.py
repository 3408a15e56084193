"""Two workers on the one node: TensorFlow in an Indexed Job, and the cost of a lost pod."""

import json
from typing import Any

import pytest
from kubernetes import client

from tests.cluster.namespace import eventually
from tests.cluster.site import PHASE_SECONDS, Site
from tools.cluster import target

pytestmark = pytest.mark.cluster

# The end of the head is the first state. On busy cores, further ones take longer than the epochs.
TRAINED = {
    "transfer": {"mode": "part"},
    "training": {"epochs": 20, "patience": 0},
    "checkpoint": {"interval_seconds": 60},
}
MEETING = "joins the others"


@pytest.fixture
def pair(site: Site) -> Site:
    """Two workers that have started."""
    site.add_photographs()
    site.helm(
        "install", "flowers", workers=2, settings=TRAINED, job={"terminationGracePeriodSeconds": 30}
    )
    return site


def kill(site: Site, pod: Any) -> None:
    """End a pod at once, as a node that dies would: no SIGTERM, no last checkpoint."""
    site.kubectl("delete", "pod", pod.metadata.name, "--grace-period=0", "--force")


def evict(site: Site, pod: Any) -> None:
    """Drain a pod off its node: it gets SIGTERM, and Kubernetes marks it as disrupted."""
    eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name=pod.metadata.name))
    site.namespace.core.create_namespaced_pod_eviction(
        pod.metadata.name, site.namespace.name, eviction
    )


def pod_names(site: Site) -> set[str]:
    return {pod.metadata.name for pod in site.namespace.pods(site.job())}


def wait_until_resumed(site: Site, ended: set[str]) -> None:
    """Wait until pods that are none of the ended ones go on from the checkpoint, together."""
    job = site.job()

    def both_replaced() -> bool:
        return len(pod_names(site) - ended) == 2

    eventually(both_replaced, PHASE_SECONDS)
    for worker in (0, 1):
        site.until_logged(job, "resumed at stage", worker=worker)


def released(site: Site) -> None:
    """Fail unless the run completes with one release, which verifies, and both workers say so."""
    result = site.completed(site.job())
    assert result["status"] in ("released", "unchanged")
    assert site.read("models/flowers/promoted.json")["run_id"] == result["run_id"]
    manifests = [
        key for key in site.keys("models/flowers/releases/") if key.endswith("manifest.json")
    ]
    assert len(manifests) == 1
    assert site.graft("verify", result["release"]).returncode == 0
    # The Job is over with its chief, and may remove a worker that has not ended by itself by then.
    # What is left of that worker are the pods that were stopped before.
    for pod in site.pods(site.job(), worker=1):
        ended = site.terminated(pod)
        if ended and ended.exit_code == 0:
            assert json.loads(ended.message)["release"] == result["release"]


def test_two_workers_train_together_end_0_and_leave_one_release(pair: Site) -> None:
    for worker in (0, 1):
        pair.until_logged(pair.job(), MEETING, worker=worker)
    released(pair)
    pods = pair.namespace.pods(pair.job())
    left = [pod for pod in pods if not pod.metadata.deletion_timestamp]
    assert {pair.terminated(pod).exit_code for pod in left} == {0}


def test_a_worker_that_is_evicted_costs_no_retry(site: Site) -> None:
    """Neither the worker that is drained is counted, nor the one that stops because of it."""
    site.add_photographs()
    site.helm("install", "flowers", workers=2, settings=TRAINED, job={"retries": 0})
    evict(site, site.until_logged(site.job(), "checkpoint saved"))
    site.until_logged(site.job(), "resumed at stage")
    released(site)


@pytest.mark.skipif(
    bool(target.FOREIGN), reason="Other clusters wait up to ten minutes before each replacement."
)
def test_two_workers_with_three_retries_outlive_seven_evictions(site: Site) -> None:
    """Seven ends of the other worker, if they counted, would be more than 2 x 3 retries."""
    site.add_photographs()
    long = TRAINED | {"training": {"epochs": 40, "patience": 0}}
    site.helm("install", "flowers", workers=2, settings=long, job={"retries": 3})
    site.until_logged(site.job(), "checkpoint saved")
    for number in range(7):
        pods = pod_names(site)
        # Both are in training: one that still waited for the others would not end, but go on.
        evict(site, site.pods(site.job(), worker=number % 2)[-1])
        wait_until_resumed(site, ended=pods)
    # Later the Job may stop and count a worker that is slow to see the release.
    assert not site.jobs()[0].status.failed
    released(site)


def test_a_worker_that_is_killed_in_training_costs_a_restart_from_the_checkpoint(
    pair: Site,
) -> None:
    pair.until_logged(pair.job(), "checkpoint saved")
    kill(pair, pair.pods(pair.job(), worker=1)[-1])
    pair.until_logged(pair.job(), "resumed at stage")
    released(pair)


def test_a_chief_that_is_killed_while_it_publishes_is_replaced_and_nobody_trains_again(
    pair: Site,
) -> None:
    kill(pair, pair.until_logged(pair.job(), "export begins"))
    pair.until_logged(pair.job(), "training is over")
    released(pair)


def test_a_worker_that_is_killed_while_it_waits_for_the_release_is_replaced_and_ends_0(
    pair: Site,
) -> None:
    kill(pair, pair.until_logged(pair.job(), "waiting for the chief's release", worker=1))
    released(pair)

"""What goes wrong on a cluster, and whose fault the run says it was."""

import json
import time
from typing import Any
from urllib.request import urlopen

import pytest
from kubernetes import client

from tests.cluster.namespace import eventually
from tests.cluster.site import Site

pytestmark = pytest.mark.cluster

LONG = {
    "transfer": {"mode": "part"},
    "training": {"epochs": 40, "patience": 0},
    "checkpoint": {"interval_seconds": 1},
}
"""A run that trains for a minute or so and has a state worth keeping after seconds."""


@pytest.mark.smoke
def test_a_wrong_setting_fails_the_job_at_once_with_one_pod_that_says_why(site: Site) -> None:
    misspelt = {
        "metadata": {"name": "shared"},
        "data": {"GRAFT_TRAINING_EPOCH": "3"},
    }  # where no schema looks
    site.namespace.core.create_namespaced_config_map(site.namespace.name, misspelt)
    site.helm("install", "flowers", extraEnvFrom=[{"configMapRef": {"name": "shared"}}])
    assert site.failed(site.job()) == "PodFailurePolicy"
    (pod,) = site.pods(site.job())
    assert site.terminated(pod).exit_code == 2
    assert "GRAFT_TRAINING_EPOCHS" in site.kubectl("describe", "pod", pod.metadata.name)


def test_a_prefix_that_is_missing_fails_at_once_with_3(site: Site) -> None:
    site.helm("install", "flowers")
    assert site.failed(site.job()) == "PodFailurePolicy"
    assert site.result(site.job())["error"]["kind"] == "dataset"
    assert site.terminated(site.pods(site.job())[0]).exit_code == 3


def test_a_run_below_the_gate_fails_with_6_and_keeps_its_release(site: Site) -> None:
    site.add_photographs()
    site.helm(
        "install",
        "flowers",
        settings={
            "gate": {"min_score": 1.0, "metric": "accuracy"},
            "backbone": {"weights": "none"},
            "transfer": {"mode": "all"},
        },
    )
    assert site.failed(site.job()) == "PodFailurePolicy"
    result = site.result(site.job())
    assert (result["status"], result["promoted"]) == ("below_gate", False)
    assert site.graft("verify", result["release"]).returncode == 0
    assert site.keys("models/flowers/promoted.json") == []


def test_an_eviction_is_not_counted_and_the_replacement_goes_on_from_the_checkpoint(
    site: Site,
) -> None:
    site.add_photographs()
    site.helm("install", "flowers", job={"retries": 0}, settings=LONG)
    pod = site.until_logged(site.job(), "checkpoint saved")
    eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name=pod.metadata.name))
    site.namespace.core.create_namespaced_pod_eviction(
        pod.metadata.name, site.namespace.name, eviction
    )
    site.until_logged(site.job(), "resumed at stage")
    assert site.completed(site.job())["status"] == "released"


def test_a_deleted_pod_is_counted_and_its_replacement_goes_on_from_the_checkpoint(
    site: Site,
) -> None:
    site.add_photographs()
    site.helm("install", "flowers", job={"retries": 1}, settings=LONG)
    pod = site.until_logged(site.job(), "checkpoint saved")
    site.namespace.core.delete_namespaced_pod(pod.metadata.name, site.namespace.name)
    site.until_logged(site.job(), "resumed at stage")
    assert site.completed(site.job())["status"] == "released"
    assert site.jobs()[0].status.failed == 1


def test_a_run_that_needs_more_memory_than_it_has_is_named_oomkilled(site: Site) -> None:
    site.add_photographs()
    site.helm(
        "install",
        "flowers",
        job={"retries": 0},
        resources={"limits": {"memory": "200Mi"}, "requests": {"memory": "200Mi"}},
    )
    code, told = site.watch()
    assert "OOMKilled" in told
    assert code == 137


def test_a_secret_that_is_missing_is_named_and_the_run_ends_at_its_deadline(site: Site) -> None:
    site.helm(
        "install", "flowers", credentials={"secret": "lost"}, job={"activeDeadlineSeconds": 15}
    )
    code, told = site.watch()
    assert 'secret "lost" not found' in told
    assert "DeadlineExceeded" in told
    assert code == 75


def test_another_attempt_goes_on_where_a_deadline_ended_the_run(site: Site) -> None:
    site.add_photographs()
    site.helm("install", "flowers", settings=LONG)
    first = site.job()
    site.until_logged(first, "checkpoint saved")
    site.helm("upgrade", "flowers", settings=LONG, job={"activeDeadlineSeconds": 1})
    assert site.failed(first) == "DeadlineExceeded"
    # An upgrade alone changes a Job that has ended, and starts nothing.
    site.helm("upgrade", "flowers", settings=LONG)
    assert site.job() == first

    site.helm("upgrade", "flowers", settings=LONG, run={"attempt": "2"})
    (second,) = {job.metadata.name for job in site.jobs()} - {first}
    site.until_logged(second, "resumed at stage")
    assert site.completed(second)["status"] == "released"


def test_a_deadline_of_null_is_the_default_and_ends_nothing(site: Site) -> None:
    site.add_photographs()
    site.helm("install", "flowers", job={"activeDeadlineSeconds": None})
    (job,) = site.jobs()
    assert job.spec.active_deadline_seconds == 86_400
    assert site.completed(site.job())["status"] == "released"


def test_helm_test_and_uninstall_leave_nothing(site: Site) -> None:
    site.add_photographs()
    site.helm("install", "flowers", launch="template")
    assert "Succeeded" in site.raw_helm("test", "flowers")
    site.uninstall("flowers")
    assert eventually(lambda: not site.leftovers() or None)


def test_an_image_that_cannot_be_pulled_is_named_and_the_run_ends_at_its_deadline(
    site: Site,
) -> None:
    image = {"repository": "graft.local/nowhere", "pullPolicy": "Never"}
    site.helm("install", "flowers", image=image, job={"activeDeadlineSeconds": 15})
    code, told = site.watch()
    assert "ErrImageNeverPull" in told
    assert code == 75


def test_a_gpu_on_a_node_without_one_is_named(site: Site) -> None:
    site.helm("install", "flowers", gpus={"count": 1}, job={"activeDeadlineSeconds": 15})
    _, told = site.watch()
    assert "Insufficient nvidia.com/gpu" in told


def test_a_store_that_is_away_for_half_a_minute_is_waited_for(site: Site) -> None:
    site.add_photographs()
    site.helm("install", "flowers", settings=LONG)
    site.until_logged(site.job(), "training begins")
    with site.store.away():
        time.sleep(30)
    assert site.completed(site.job())["status"] == "released"


def test_a_store_that_is_away_for_good_ends_a_pod_with_75_and_the_job_tries_again(
    site: Site,
) -> None:
    site.add_photographs()
    site.helm("install", "flowers", settings=LONG)
    site.until_logged(site.job(), "training begins")
    with site.store.away():
        first = eventually(lambda: _ended(site), 400)
        assert site.terminated(first).exit_code == 75
    assert site.completed(site.job())["status"] == "released"


def _ended(site: Site) -> Any:
    pods = site.pods(site.job())
    return (
        pods[0] if pods and pods[0].status.container_statuses and site.terminated(pods[0]) else None
    )


def test_the_stores_secret_key_is_in_no_log_metric_result_or_object_of_the_bucket(
    site: Site,
) -> None:
    site.add_photographs()
    site.helm("install", "flowers")
    pod = site.until_logged(site.job(), "dataset begins")
    with site.metrics(pod) as address, urlopen(f"http://{address}/metrics", timeout=5) as answer:
        seen = [answer.read().decode()]
    seen.append(json.dumps(site.completed(site.job())))
    seen += [site.told(site.job()), site.kubectl("get", "all,events", "--output=yaml")]
    seen += [
        site.raw_helm("get", "manifest", "flowers"),
        site.raw_helm("get", "values", "flowers", "--all"),
    ]
    seen += [
        str(site.s3.get_object(Bucket=site.bucket, Key=key)["Body"].read())
        for key in site.keys("models/")
    ]
    assert len(seen) > 15
    assert not [text for text in seen if site.store.secret_key in text]

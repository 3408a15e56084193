"""Several workers: an Indexed Job whose pods find each other, whatever the Job is called."""

import re

import pytest

from job.errors import WorkerLost, WorkerStopped
from job.workers import WorkerGroup
from tests.chart.rendering import LAUNCHES, Tree, job, only, pods, render

pytestmark = pytest.mark.chart


def variables(pod: Tree) -> dict[str, Tree]:
    (container,) = pod["spec"]["containers"]
    return {entry["name"]: entry for entry in container["env"]}


def expanded(objects: list[Tree], name: str, index: int) -> str:
    """TF_CONFIG as the kubelet gives it to a pod of the Job `name`.

    The kubelet replaces only the variables that stand before.
    """
    pod = job(objects)["template"]
    fields = {
        "metadata.labels['batch.kubernetes.io/job-name']": name,
        "metadata.annotations['batch.kubernetes.io/job-completion-index']": str(index),
    }
    known: dict[str, str] = {}
    for variable, entry in variables(pod).items():
        reference = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        value = fields[reference] if reference else entry.get("value", "")
        known[variable] = re.sub(r"\$\((\w+)\)", lambda match: known.get(match[1], match[0]), value)
    return known["TF_CONFIG"]


@pytest.mark.parametrize("launch", LAUNCHES)
def test_every_pod_knows_all_workers_and_itself(launch: str) -> None:
    objects = render({"launch": launch, "workers": 3})
    for index in range(3):
        worker_group = WorkerGroup.parse(expanded(objects, "flowers-1", index))
        assert worker_group.addresses == tuple(
            f"flowers-1-{number}.workers-flowers:2222" for number in range(3)
        )
        assert worker_group.index == index


@pytest.mark.parametrize("launch", LAUNCHES)
def test_the_addresses_are_those_that_the_service_gives_to_the_pods(launch: str) -> None:
    objects = render({"launch": launch, "workers": 3})
    service, pod = only(objects, "Service"), job(objects)["template"]
    assert pod["spec"]["subdomain"] == service["metadata"]["name"] == "workers-flowers"
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()


@pytest.mark.parametrize("launch", LAUNCHES)
def test_each_index_is_one_worker_and_retries_are_counted_for_each(launch: str) -> None:
    spec = job(render({"launch": launch, "workers": 3, "job": {"retries": 2}}))
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 3, 3)
    assert spec["backoffLimit"] == 6


@pytest.mark.parametrize("launch", LAUNCHES)
def test_a_worker_that_only_lost_another_is_not_counted(launch: str) -> None:
    def ignored(workers: int) -> list[int]:
        rules = job(render({"launch": launch, "workers": workers}))["podFailurePolicy"]["rules"]
        codes = [rule.get("onExitCodes", {}) for rule in rules if rule["action"] == "Ignore"]
        return [code for found in codes for code in found.get("values", [])]

    assert ignored(2) == [WorkerLost.exit_code] == [WorkerStopped.exit_code]
    assert ignored(1) == []


@pytest.mark.parametrize(("version", "has_policy"), [("1.32.9", False), ("1.33.0-gke.1", True)])
def test_the_run_is_over_with_its_chief_where_the_api_can_say_so(
    version: str, has_policy: bool
) -> None:
    spec = job(render({"workers": 3}, "--kube-version", version))
    policy = {"rules": [{"succeededIndexes": "0"}]}
    assert spec.get("successPolicy") == (policy if has_policy else None)
    assert "successPolicy" not in job(render({}, "--kube-version", version))


def test_one_worker_is_a_plain_job_without_a_service() -> None:
    objects = render()
    assert not {"completionMode", "completions", "parallelism"} & job(objects).keys()
    assert "subdomain" not in job(objects)["template"]["spec"]
    assert "TF_CONFIG" not in variables(job(objects)["template"])
    assert "Service" not in {item["kind"] for item in objects}


def test_the_test_checks_alone() -> None:
    _, test = pods(render({"workers": 3}))
    assert "TF_CONFIG" not in variables(test)
    assert "subdomain" not in test["spec"]


def test_gpus_are_those_of_each_worker() -> None:
    pod = job(render({"workers": 3, "gpus": {"count": 2}}))["template"]
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert variables(pod)["GRAFT_DEVICES_GPUS"]["value"] == "2"

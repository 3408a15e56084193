"""What an API server itself says to the chart, and what it says to queues that own `suspend`."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.chart.rendering import Tree, merged, pods, render
from tests.chart.test_rendering import ROWS, SWITCHES
from tests.cluster.namespace import Namespace, eventually
from tests.cluster.site import Site
from tools.cluster import target

pytestmark = pytest.mark.cluster
NAMES: dict[str, tuple[str, Tree]] = {
    "PriorityClass": ("scheduling.k8s.io/v1", {"value": 1}),
    "RuntimeClass": ("node.k8s.io/v1", {"handler": "runc"}),
}


@pytest.fixture(scope="module")
def classes(api: Any) -> Iterator[None]:
    """The classes that the rows name: the API server refuses a pod whose class is missing."""
    named = [
        _class(kind, name) for kind, name in (("PriorityClass", "low"), ("RuntimeClass", "nvidia"))
    ]
    made = [
        each
        for each in named
        if target.call("create", "--filename=-", given=[each]).returncode == 0
    ]
    yield
    for each in made:  # one that was there before stays
        target.kubectl("delete", f"{each['kind']}/{each['metadata']['name']}")


def _class(kind: str, name: str) -> Tree:
    version, fields = NAMES[kind]
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields}


@pytest.mark.usefixtures("classes")
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_pair_of_switches_is_admitted_under_restricted(
    namespace: Namespace, row: tuple[int, ...]
) -> None:
    chosen = [positions[index] for positions, index in zip(SWITCHES.values(), row, strict=True)]
    objects = render(merged(*chosen), major=3 + sum(row) % 2)
    # Their kinds come with the Prometheus operator.
    operators = ("PodMonitor", "PrometheusRule")
    known = [item for item in objects if item["kind"] not in operators]
    for item in known:
        item["metadata"]["namespace"] = namespace.name
    accounts = {pod["spec"]["serviceAccountName"] for pod in pods(objects)}
    _kubectl(
        "create",
        "--filename=-",
        given=[_account(name, namespace.name) for name in accounts - {"default"}],
    )
    _kubectl("create", "--dry-run=server", "--filename=-", given=known, expected="AlreadyExists")
    # Admission only warns about a Job; it is the pod that it would refuse.
    admitted = [_pod(pod, namespace.name) for pod in pods(objects)]
    _kubectl("create", "--dry-run=server", "--filename=-", given=admitted)


def _account(name: str, namespace: str) -> Tree:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": namespace},
    }


def _pod(template: Tree, namespace: str) -> Tree:
    metadata = {
        "labels": template["metadata"].get("labels", {}),
        "generateName": "pod-",
        "namespace": namespace,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def _kubectl(*arguments: str, given: list[Tree], expected: str = "") -> None:
    """Fail unless the API server takes all objects, but for those with the `expected` reason."""
    if not given:
        return
    complaints = target.call(*arguments, given=given).stderr.splitlines()
    assert [line for line in complaints if not expected or expected not in line] == []


@pytest.mark.parametrize("major", [3, 4])
def test_an_upgrade_leaves_a_job_alone_that_a_queue_has_suspended_and_let_go(
    site: Site, major: int
) -> None:
    """Kueue suspends what it queues and resumes it: a chart that renders `suspend` fights it."""
    site = replace(site, major=major)
    site.add_photographs()
    site.helm("install", "flowers", queue="gpus")
    job = site.job()
    before = site.jobs()[0]
    assert before.metadata.labels["kueue.x-k8s.io/queue-name"] == "gpus"
    for suspended in ("true", "false"):
        site.kubectl(
            "patch", f"job/{job}", "--type=merge", f'--patch={{"spec":{{"suspend":{suspended}}}}}'
        )
        site.helm("upgrade", "flowers", queue="gpus")
        (after,) = site.jobs()
        assert after.metadata.uid == before.metadata.uid
        assert after.spec.suspend == (suspended == "true")
    eventually(lambda: site.pods(job))

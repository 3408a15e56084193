"""Kueue on the cluster, by its own chart, and one queue that is small enough to be full."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.chart.rendering import run_helm
from tests.cluster.namespace import eventually
from tests.cluster.site import PHASE_SECONDS
from tools import go
from tools.cluster import images, node, target
from tools.paths import PROGRAMS

MODULE = PROGRAMS / "kueue"
SOURCE = "sigs.k8s.io/kueue"
IMAGE = "graft.local/kueue"
NAME = "kueue-system"
# Room for one run of the tests at a time: each asks for 100m.
QUOTA = {"cpu": "150m", "memory": "16Gi", "ephemeral-storage": "100Gi"}
PRIORITIES = {"low": 1, "high": 100}
# What a flavor of GPU nodes brings along: Kueue writes it into the Job that it admits.
TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
# They need an API server with a front proxy, which ours is not, and without it no namespace can go.
VISIBILITY = [f"{version}.visibility.kueue.x-k8s.io" for version in ("v1beta1", "v1beta2")]
CLUSTER_KINDS = ("clusterqueue", "resourceflavor", "workloadpriorityclass")


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """Install Kueue with its webhooks and a ClusterQueue `team`, and remove both."""
    tag = go.pinned(MODULE, SOURCE)
    program = go.program(MODULE, f"{SOURCE}/cmd/kueue")
    node.load(images.write_program(folder / "kueue.tar", f"{IMAGE}:{tag}", program, "manager"))
    chart = go.source(MODULE, SOURCE) / "charts" / "kueue"
    place = (f"--namespace={NAME}", f"--kubeconfig={target.KUBECONFIG}")
    options = ("--create-namespace", "--wait", "--timeout=300s", "--values=-")
    run_helm(4, "install", "kueue", str(chart), *place, *options, given=_values(tag))
    try:
        target.kubectl("delete", "apiservice", *VISIBILITY)
        # A webhook that does not answer yet refuses what is created.
        eventually(lambda: target.call("apply", "--filename=-", given=_queue()).returncode == 0)
        yield
    finally:
        # Kueue lets go of what is in use, so it has to be the last that goes.
        wait_until_empty()
        for kind in CLUSTER_KINDS:
            target.kubectl("delete", kind, "--all")
        run_helm(4, "uninstall", "kueue", "--wait", *place)
        target.kubectl("delete", "namespace", NAME)


def wait_until_empty() -> None:
    """Wait until no run is queued or let in: a test's namespace outlives it until its pods end."""
    eventually(lambda: not target.kubectl("get", "workloads", "-A", "--output=name"), PHASE_SECONDS)


def _values(tag: str) -> dict[str, Any]:
    image = {"repository": IMAGE, "tag": tag, "pullPolicy": "IfNotPresent"}
    resources = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}
    manager = {
        "image": image,
        "resources": resources,
        "podSecurityContext": {"runAsNonRoot": True, "runAsUser": 65532},
    }
    return {"controllerManager": {"manager": manager}}


def _queue() -> list[Any]:
    resources = [{"name": name, "nominalQuota": quota} for name, quota in QUOTA.items()]
    flavors = [{"name": "gpu-nodes", "resources": resources}]
    group = {"coveredResources": list(QUOTA), "flavors": flavors}
    queue = {
        "namespaceSelector": {},
        "resourceGroups": [group],
        "preemption": {"withinClusterQueue": "LowerPriority"},
    }
    classes = [
        _object("WorkloadPriorityClass", name, value=value, description=name)
        for name, value in PRIORITIES.items()
    ]
    return [
        *classes,
        _object("ResourceFlavor", "gpu-nodes", spec={"tolerations": [TOLERATION]}),
        _object("ClusterQueue", "team", spec=queue),
    ]


def local_queue(namespace: str) -> Any:
    """The way from a namespace into the queue `team`."""
    queue = _object("LocalQueue", "team", spec={"clusterQueue": "team"})
    queue["metadata"]["namespace"] = namespace
    return queue


def _object(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    version = "kueue.x-k8s.io/v1beta2"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields}

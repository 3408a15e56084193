"""Objects of Kubernetes as its API gives them: the chart's CronJob, and pods in many states."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client

from job.launcher.objects import ClusterEvent, Job, Json, Pod
from job.launcher.snapshot import RunSnapshot
from tools.paths import MANIFESTS

RUN = "graft-1f2e3d4c5b"
NOW = "2026-01-02T03:04:05Z"
# Of the Job of a run, unless a test says otherwise.
UID = "uid of "


def template(**metadata: Any) -> Json:
    """The CronJob of manifests/template.yaml, as a server hands it out."""
    documents = yaml.safe_load_all((MANIFESTS / "template.yaml").read_text())
    found: Json = next(each for each in documents if each["kind"] == "CronJob")
    found["metadata"] |= {"uid": "6d8f0b7e-9f0e-4a51-8f6e-0f6a1c6d7e8f"} | metadata
    return found


def env(job: Json) -> list[Json]:
    entries: list[Json] = job["spec"]["template"]["spec"]["containers"][0]["env"]
    return entries


def job(name: str = RUN, *, version: str = "10", **status: Any) -> Json:
    """A Job of that name; the keywords are its status."""
    labels = {"app.kubernetes.io/name": "graft"}
    metadata = {
        "name": name,
        "namespace": "graft",
        "uid": UID + name,
        "labels": labels,
        "resourceVersion": version,
        "creationTimestamp": NOW,
    }
    spec = template()["spec"]["jobTemplate"]["spec"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": spec,
        "status": status,
    }


def ended(kind: str, reason: str = "", message: str = "") -> Json:
    """The status of a Job that is over."""
    condition = {"type": kind, "status": "True", "reason": reason, "message": message}
    return {"conditions": [condition]}


def pod(
    name: str = f"{RUN}-abcde",
    *,
    run: str = RUN,
    owner: str = "",
    index: int | None = None,
    **status: Any,
) -> Json:
    """A pod; the keywords are its status, in the words of the client's own models."""
    labels = {
        "batch.kubernetes.io/job-name": run,
        "batch.kubernetes.io/controller-uid": owner or UID + run,
        "app.kubernetes.io/name": "graft",
    }
    annotations = {} if index is None else {"batch.kubernetes.io/job-completion-index": str(index)}
    model = client.V1Pod(
        api_version="v1",
        kind="Pod",
        metadata=client.V1ObjectMeta(
            name=name,
            namespace="graft",
            labels=labels,
            annotations=annotations,
        ),
        spec=client.V1PodSpec(
            node_name="node-1", containers=[client.V1Container(name="graft", image="graft:0.1.0")]
        ),
        status=client.V1PodStatus(**status),
    )
    plain: Json = client.ApiClient(client.Configuration()).sanitize_for_serialization(model)
    plain["metadata"]["creationTimestamp"] = NOW
    return plain


def container(**state: Any) -> list[client.V1ContainerStatus]:
    """The status of a sidecar, and ours in `state` (`waiting`, `running` or `terminated`)."""

    def status(name: str, state: client.V1ContainerState) -> client.V1ContainerStatus:
        return client.V1ContainerStatus(
            name=name, image="x", image_id="", ready=False, restart_count=0, state=state
        )

    running = client.V1ContainerState(running=client.V1ContainerStateRunning())
    return [status("istio-proxy", running), status("graft", client.V1ContainerState(**state))]


def waiting(reason: str, message: str = "") -> Json:
    """The status of a pod whose container waits."""
    state = client.V1ContainerStateWaiting(reason=reason, message=message)
    return {"phase": "Pending", "container_statuses": container(waiting=state)}


def running() -> Json:
    """The status of a pod at work."""
    return {
        "phase": "Running",
        "container_statuses": container(running=client.V1ContainerStateRunning()),
    }


def terminated(exit_code: int, message: str = "", reason: str = "", **status: Any) -> Json:
    """The status of a pod whose container has ended."""
    word = reason or ("Completed" if exit_code == 0 else "Error")
    state = client.V1ContainerStateTerminated(exit_code=exit_code, reason=word, message=message)
    phase = "Succeeded" if exit_code == 0 else "Failed"
    return {"phase": phase, "container_statuses": container(terminated=state)} | status


def unschedulable(message: str) -> Json:
    """The status of a pod that no node takes."""
    condition = client.V1PodCondition(
        type="PodScheduled", status="False", reason="Unschedulable", message=message
    )
    return {"phase": "Pending", "conditions": [condition]}


def disrupted(reason: str, message: str, exit_code: int = 143) -> Json:
    """The status of a pod that was evicted."""
    condition = client.V1PodCondition(
        type="DisruptionTarget", status="True", reason=reason, message=message
    )
    return terminated(exit_code, conditions=[condition])


def event(kind: str, name: str, reason: str, message: str, at: str = NOW) -> Json:
    model = client.CoreV1Event(
        metadata=client.V1ObjectMeta(name=f"{name}.1"),
        involved_object=client.V1ObjectReference(kind=kind, name=name),
        reason=reason,
        message=message,
        type="Warning",
    )
    plain: Json = client.ApiClient(client.Configuration()).sanitize_for_serialization(model)
    return plain | {"lastTimestamp": at}


def snapshot(of: Json, *pods: Json, events: tuple[Json, ...] = ()) -> RunSnapshot:
    """What the launcher makes of a Job, its pods and events."""
    return RunSnapshot(
        Job.from_json(of),
        tuple(Pod.from_json(each) for each in pods),
        tuple(ClusterEvent.from_json(each) for each in events),
    )


RELEASED = (
    '{"status": "released", "run_id": "34701a43aed1c39a", '
    '"release": "s3://models/flowers/releases/34701a43aed1c39a", "promoted": true, '
    '"scores": {"accuracy": 0.911765, "log_loss": null}, "plan": "none", "error": null, '
    '"seconds": {"survey": 0.28}}'
)
MISSPELT = (
    '{"status": "failed", "run_id": null, "release": null, "promoted": false, "scores": {}, '
    '"plan": null, "error": {"kind": "settings", "message": "a setting cannot work:", '
    '"cure": "Correct it."}, "seconds": {}}'
)


def waiter(kubeconfig: Path, *arguments: str) -> subprocess.Popen[str]:
    """`graft submit graft --wait`, as a process that can be stopped by a signal."""
    return subprocess.Popen(
        [sys.executable, "-m", "job", "submit", "graft", "--wait", *arguments],
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
        cwd=MANIFESTS.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

"""The launcher against a real API server, with the rights of manifests/launcher-role.yaml alone."""

import json
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kubernetes import client, config

from job import launcher
from job.__main__ import main
from job.errors import SettingsError
from job.launcher.answers import ClusterForbidden, ClusterNotFound, ClusterUnavailable
from job.launcher.objects import Json
from job.launcher.watching import NotStarted
from job.result import Result
from tests.launcher import control_plane
from tests.launcher.control_plane import ControlPlane
from tests.launcher.objects import RELEASED, env, waiter

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("control plane")]

NOW = "2026-01-02T03:04:05Z"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane")) as started:
        yield started


@pytest.fixture(scope="module")
def api(plane: ControlPlane) -> Iterator[client.ApiClient]:
    """Everybody's rights, and in the namespace `graft` a template and the launcher's account."""
    with config.new_client_from_config(str(plane.administrator)) as connected:
        core: Any = client.CoreV1Api(connected)
        core.create_namespace({"metadata": {"name": "graft"}})
        control_plane.install(connected, "template.yaml", "launcher-role.yaml")
        yield connected


@pytest.fixture(scope="module")
def account(plane: ControlPlane, api: client.ApiClient) -> Path:
    """The kubeconfig of the launcher's account."""
    return plane.kubeconfig(control_plane.token_of(api, "graft-launcher"))


@pytest.fixture
def cluster(account: Path, monkeypatch: pytest.MonkeyPatch) -> launcher.Cluster:
    monkeypatch.setenv("KUBECONFIG", str(account))
    return launcher.connect(None, str(account))


@pytest.fixture
def node(api: client.ApiClient) -> "Node":
    return Node(api)


class Node:
    """Does to a run what controllers and a kubelet would."""

    def __init__(self, api: client.ApiClient) -> None:
        self._core: Any = client.CoreV1Api(api)
        self.batch: Any = client.BatchV1Api(api)

    def pod(self, run: str, **status: Any) -> str:
        name = f"{run}-{uuid4().hex[:5]}"
        labels = {"batch.kubernetes.io/job-name": run, "app.kubernetes.io/name": "graft"}
        # A pod of no Job at all is one too: it only has to be there.
        with suppress(client.ApiException):
            job = self.batch.read_namespaced_job(run, "graft")
            labels["batch.kubernetes.io/controller-uid"] = job.metadata.uid
        body = {
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "containers": [{"name": "graft", "image": "graft:0.1.0"}],
                "restartPolicy": "Never",
            },
        }
        self._core.create_namespaced_pod("graft", body)
        self.becomes(name, **status)
        return name

    def becomes(
        self, pod: str, phase: str = "Pending", state: Json | None = None, **status: Any
    ) -> None:
        container = {
            "name": "graft",
            "image": "x",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": state,
        }
        status |= {"phase": phase, "containerStatuses": [container] if state else []}
        self._core.patch_namespaced_pod_status(pod, "graft", {"status": status})

    def ends(self, run: str, kind: str, reason: str) -> None:
        first = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}[kind]
        conditions = [_condition(each, reason) for each in (first, kind)]
        status: Json = {"startTime": NOW, "conditions": conditions}
        if kind == "Complete":
            status |= {"completionTime": NOW, "succeeded": 1}
        self.batch.patch_namespaced_job_status(run, "graft", {"status": status})

    def warns(self, kind: str, name: str, reason: str, message: str) -> None:
        about = {"kind": kind, "name": name, "namespace": "graft"}
        event = {
            "metadata": {"name": f"{name}.{uuid4().hex}"},
            "involvedObject": about,
            "type": "Warning",
        }
        self._core.create_namespaced_event("graft", event | {"reason": reason, "message": message})


def _condition(kind: str, reason: str, status: str = "True", message: str = "") -> Json:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": NOW,
        "lastProbeTime": NOW,
    }


def _terminated(exit_code: int, reason: str = "Completed", message: str = "") -> Json:
    return {"terminated": {"exitCode": exit_code, "reason": reason, "message": message}}


@pytest.fixture
def followed(cluster: launcher.Cluster) -> Iterator[Callable[[str], "Followed"]]:
    """Follow a run in a thread of its own."""
    with ThreadPoolExecutor() as pool:
        yield lambda run: Followed(pool, cluster, run)


class Followed:
    """A watch under way: the lines that it wrote, and what it returns."""

    def __init__(self, pool: ThreadPoolExecutor, cluster: launcher.Cluster, run: str) -> None:
        self.lines: list[str] = []
        self.result: Future[Result] = pool.submit(launcher.watch, cluster, run, self.lines.append)

    def until(self, words: str) -> str:
        """Wait until a line with these words was written."""
        for _ in range(300):
            if line := next((each for each in self.lines if words in each), ""):
                return line
            with suppress(TimeoutError):
                self.result.result(timeout=0.1)
                break
        pytest.fail(f"never written: {words}; but {self.lines}")


def test_a_submitted_run_is_the_templates_own_job(cluster: launcher.Cluster, node: Node) -> None:
    run = launcher.submit(cluster, "graft", {"GRAFT_NAME": "roses", "GRAFT_SEED": "7"})
    made = node.batch.read_namespaced_job(run.name, "graft")
    template = node.batch.read_namespaced_cron_job("graft", "graft")
    assert made.metadata.labels.items() >= template.spec.job_template.metadata.labels.items()
    assert made.metadata.annotations["cronjob.kubernetes.io/instantiate"] == "manual"
    (owner,) = made.metadata.owner_references
    assert (owner.uid, owner.controller) == (template.metadata.uid, None)
    assert made.spec.suspend is False
    assert made.spec.ttl_seconds_after_finished == 604800
    entries = env(cluster.read_job_json(run.name))
    assert {"name": "GRAFT_NAME", "value": "roses"} in entries
    assert len({entry["name"] for entry in entries}) == len(entries)


def test_one_key_is_one_run(cluster: launcher.Cluster) -> None:
    first = launcher.submit(cluster, "graft", {}, "workflow")
    second = launcher.submit(cluster, "graft", {}, "workflow")
    third = launcher.submit(cluster, "graft", {"GRAFT_SEED": "8"}, "workflow")
    assert (first.attached, second.attached, third.attached) == (False, True, True)
    assert first.name == second.name == third.name
    assert (second.differs, third.differs) == ((), ("GRAFT_SEED",))
    assert launcher.submit(cluster, "graft", {}, "another").name != first.name


def test_settings_that_cannot_work_create_nothing(cluster: launcher.Cluster) -> None:
    before = len(cluster.list_jobs())
    with pytest.raises(SettingsError, match="GRAFT_TRAINING_EPOCH is unknown"):
        launcher.submit(cluster, "graft", {"GRAFT_TRAINING_EPOCH": "5"})
    assert len(cluster.list_jobs()) == before


def test_a_run_is_followed_from_no_node_to_a_second_pod_and_its_result(
    cluster: launcher.Cluster, node: Node, followed: Callable[[str], "Followed"]
) -> None:
    run = launcher.submit(cluster, "graft", {}).name
    watch = followed(run)
    watch.until(f"{run} is pending")
    message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    first = node.pod(
        run, conditions=[_condition("PodScheduled", "Unschedulable", "False", message)]
    )
    assert "gpus.count" in watch.until("it waits: Unschedulable: 0/1 nodes are available")
    waits = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    node.becomes(first, state=waits, conditions=[_condition("PodScheduled", "")])
    watch.until("it waits: ImagePullBackOff: no such image")
    node.becomes(first, "Running", {"running": {"startedAt": NOW}})
    watch.until(f"pod {first} runs")
    node.becomes(first, "Failed", _terminated(137, "OOMKilled"))
    assert "resources.limits.memory" in watch.until(f"pod {first} is gone: OOMKilled")
    second = node.pod(run, phase="Succeeded", state=_terminated(0, message=RELEASED))
    watch.until(f"pod {second} ended with exit code 0")
    node.ends(run, "Complete", "CompletionsReached")
    assert json.loads(watch.result.result(30).to_json()) == json.loads(RELEASED)


def test_a_quota_and_a_missing_secret_are_read_from_events(
    cluster: launcher.Cluster, node: Node, followed: Callable[[str], "Followed"]
) -> None:
    run = launcher.submit(cluster, "graft", {}).name
    node.warns("Job", run, "FailedCreate", 'pods "x" is forbidden: exceeded quota: gpus')
    watch = followed(run)
    watch.until('it waits: FailedCreate: pods "x" is forbidden: exceeded quota: gpus')
    pod = node.pod(run, state={"waiting": {"reason": "ContainerCreating"}})
    node.warns("Pod", pod, "FailedMount", 'secret "s3" not found')
    watch.until('it waits: FailedMount: secret "s3" not found')
    node.ends(run, "Failed", "DeadlineExceeded")
    result = watch.result.result(30)
    assert (result.status, result.exit_code) == ("interrupted", 75)


def test_a_watch_of_an_old_version_returns_and_the_run_is_read_again(
    cluster: launcher.Cluster, node: Node, followed: Callable[[str], "Followed"]
) -> None:
    run = launcher.submit(cluster, "graft", {}).name
    cluster.await_change(replace(cluster.read_job(run), version="1"), 60)
    watch = followed(run)
    watch.until("is pending")
    node.pod(run, phase="Succeeded", state=_terminated(0, message=RELEASED))
    node.ends(run, "Complete", "CompletionsReached")
    assert watch.result.result(30).exit_code == 0


def test_a_server_that_crashes_and_comes_back_is_no_end(
    plane: ControlPlane,
    cluster: launcher.Cluster,
    node: Node,
    followed: Callable[[str], "Followed"],
) -> None:
    run = launcher.submit(cluster, "graft", {}).name
    watch = followed(run)
    watch.until("is pending")
    plane.stop_server()
    plane.start_server()
    node.pod(
        run,
        phase="Failed",
        state=_terminated(3, "Error", RELEASED.replace("released", "failed", 1)),
    )
    node.ends(run, "Failed", "PodFailurePolicy")
    assert watch.result.result(60).status == "failed"


def test_runs_lists_what_is_known(
    cluster: launcher.Cluster, node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    run = launcher.submit(cluster, "graft", {}).name
    node.pod(run, phase="Succeeded", state=_terminated(0, message=RELEASED))
    node.ends(run, "Complete", "CompletionsReached")
    waiting = launcher.submit(cluster, "graft", {}).name
    assert main(["runs"]) == 0
    rows = {row.split()[0]: row.split()[1:] for row in capsys.readouterr().out.splitlines()}
    assert rows[run][:3] == ["released", "none", "0.9118"]
    assert rows[run][-1] == "s3://models/flowers/releases/34701a43aed1c39a"
    assert rows[waiting][0] == "pending"


def test_a_missing_name_is_reported_with_those_that_exist(cluster: launcher.Cluster) -> None:
    with pytest.raises(ClusterNotFound, match=r"No template gaft .*there are: graft"):
        launcher.submit(cluster, "gaft", {})
    with pytest.raises(ClusterNotFound, match="No run nothing in the namespace graft"):
        launcher.watch(cluster, "nothing", print)


def test_another_namespace_is_forbidden_with_verb_and_resource(account: Path) -> None:
    with pytest.raises(
        ClusterForbidden,
        match=r'cannot list resource "pods" in API group "" in the namespace "default"',
    ):
        launcher.list_runs(launcher.connect("default", str(account)))


def test_sigterm_with_cancel_on_exit_deletes_the_run(
    cluster: launcher.Cluster, account: Path
) -> None:
    process = waiter(account, "--key", "cancelled", "--cancel-on-exit")
    assert process.stderr
    while "is pending" not in process.stderr.readline():
        assert process.poll() is None
    run = launcher.submit(cluster, "graft", {}, "cancelled")
    assert run.attached
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, json.loads(out)["status"]) == (75, "interrupted")
    with pytest.raises(ClusterNotFound):
        cluster.read_job(run.name)


def _all_verbs(cluster: launcher.Cluster, node: Node) -> None:
    """Everything that the launcher can do, once."""
    for call in (
        lambda: launcher.submit(cluster, "gaft", {}),
        lambda: launcher.watch(cluster, "nothing", print),
        lambda: launcher.list_runs(cluster),
        lambda: list(cluster.stream_log(node.pod("nothing"), follow=False)),
    ):
        # The object does not exist, or there is no node to read a log from.
        with suppress(ClusterNotFound, ClusterUnavailable, SettingsError):
            _unless_forbidden(call)
    run = launcher.submit(cluster, "graft", {})
    # The message says whether the run could be cancelled.
    with pytest.raises(NotStarted, match="was cancelled"):
        launcher.watch(cluster, run.name, print, start_timeout=0.1, cancel=True)


def _unless_forbidden(call: Callable[[], object]) -> None:
    """A missing right is a `SettingsError` to users; here it is what we look for."""
    try:
        call()
    except ClusterForbidden as error:
        raise AssertionError(error.message) from error


def _refusal(cluster: launcher.Cluster, node: Node) -> str:
    try:
        _all_verbs(cluster, node)
    except (ClusterForbidden, AssertionError) as error:
        return str(error)
    return ""


def test_the_role_is_enough(cluster: launcher.Cluster, node: Node) -> None:
    assert _refusal(cluster, node) == ""


def test_the_role_is_not_too_much(
    plane: ControlPlane, node: Node, api: client.ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role that lacks any one of its rights is refused for the lack of just that."""
    monkeypatch.setattr("job.launcher.snapshot.PATIENCE", 0.0)
    monkeypatch.setattr("job.launcher.watching.PATIENCE", 0.0)
    monkeypatch.setattr("job.launcher.watching.PAUSE", 0.05)
    rules = api.sanitize_for_serialization(
        client.RbacAuthorizationV1Api(api).read_namespaced_role("graft-launcher", "graft").rules
    )
    rights = [
        (rule["apiGroups"][0], rule["resources"][0], verb)
        for rule in rules
        for verb in rule["verbs"]
    ]
    assert len(rights) == len(set(rights)) == 10
    for number, missing in enumerate(rights):
        name = f"launcher-{number}"
        _grant(api, name, [right for right in rights if right != missing])
        cluster = launcher.connect(None, str(plane.kubeconfig(control_plane.token_of(api, name))))
        wanted = f'cannot {missing[2]} resource "{missing[1]}"'
        # A right is in force a moment after it was granted.
        assert any(wanted in _refusal(cluster, node) for _ in range(20)), wanted


def _grant(api: client.ApiClient, name: str, rights: list[tuple[str, str, str]]) -> None:
    """An account of that name, with these rights and no others."""
    core: Any = client.CoreV1Api(api)
    roles: Any = client.RbacAuthorizationV1Api(api)
    rules = [
        {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
        for group, resource, verb in rights
    ]
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": "graft"}
    metadata = {"name": name}
    core.create_namespaced_service_account("graft", {"metadata": metadata})
    roles.create_namespaced_role("graft", {"metadata": metadata, "rules": rules})
    roles.create_namespaced_role_binding(
        "graft", {"metadata": metadata, "roleRef": reference, "subjects": [subject]}
    )

"""The laptop's bucket: its objects are right, and its server can do what Graft needs."""

import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from job import storage
from job.errors import StoreConflict
from tests.chart.kinds import faults
from tests.chart.policies import Peer, allows
from tests.chart.rendering import Tree, job, only, render
from tests.manifests.examples import insecurities, objects, planted
from tools import go
from tools.cluster import binaries
from tools.paths import MANIFESTS, PROGRAMS

pytestmark = pytest.mark.chart

OBJECTS = objects("bucket.yaml")
POD = only(OBJECTS, "Deployment")["spec"]["template"]["spec"]
MODELS = {
    "Deployment": "V1Deployment",
    "NetworkPolicy": "V1NetworkPolicy",
    "PersistentVolumeClaim": "V1PersistentVolumeClaim",
    "Service": "V1Service",
}
COMMENT = re.sub(r"\\\n#", "", (MANIFESTS / "bucket.yaml").read_text().partition("\n---")[0])
SECRET = dict(re.findall(r"--from-literal=(\w+)=(\S+)", COMMENT))


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The server, started with its container's arguments on a folder instead of the volume."""
    (first,), (server,) = POD["initContainers"], POD["containers"]
    subprocess.run(
        [part.replace("/volume", str(tmp_path)) for part in first["command"]], check=True
    )
    address = f"127.0.0.1:{_free_port()}"
    arguments = [
        part.replace("/volume", str(tmp_path)).replace(":7070", address) for part in server["args"]
    ]
    secret = SECRET | {
        "AWS_SECRET_ACCESS_KEY": "made-up",
        "AWS_ENDPOINT_URL_S3": f"http://{address}",
    }
    for name, value in secret.items():
        monkeypatch.setenv(name, value)
    keys = {
        entry["name"]: secret[entry["valueFrom"]["secretKeyRef"]["key"]] for entry in server["env"]
    }
    with subprocess.Popen([binaries.versitygw(), *arguments], env=keys) as process:
        _await(f"http://{address}{server['readinessProbe']['httpGet']['path']}")
        yield f"http://{address}"
        process.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await(url: str) -> None:
    for _ in range(100):
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} did not answer within 10 s")


@pytest.mark.parametrize("item", OBJECTS, ids=lambda item: item["kind"])
def test_kubernetes_understands_the_object(item: Tree) -> None:
    assert faults(item, MODELS[item["kind"]]) == []


def test_its_pod_passes_pod_security_restricted() -> None:
    assert insecurities("bucket", POD) == ""


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("securityContext.runAsUser", 0, "runAsUser=0"),
        ("securityContext.seccompProfile", {"type": "Unconfined"}, "seccompProfile"),
        (
            "initContainers.0.securityContext.allowPrivilegeEscalation",
            True,
            "allowPrivilegeEscalation != false",
        ),
        ("containers.0.securityContext.capabilities", {}, "unrestricted capabilities"),
        ("volumes.0", {"name": "volume", "hostPath": {"path": "/"}}, "restricted volume types"),
    ],
)
def test_pod_security_refuses_a_planted_fault(path: str, value: object, complaint: str) -> None:
    assert complaint in insecurities("bucket", planted(POD, path, value))


@pytest.mark.parametrize("bucket", ["data", "models"])
def test_graft_can_use_the_buckets(endpoint: str, bucket: str) -> None:
    store = storage.connect(f"s3://{bucket}/flowers")
    store.probe()
    first = store.write_if("promoted.json", b"first", None)
    with pytest.raises(StoreConflict):
        store.write_if("promoted.json", b"another first", None)
    store.write_if("promoted.json", b"second", first)
    with pytest.raises(StoreConflict):
        store.write_if("promoted.json", b"late", first)
    assert store.read("promoted.json") == b"second"


def test_the_server_that_was_tried_is_the_one_of_the_image() -> None:
    version = go.pinned(PROGRAMS / "store", "github.com/versity/versitygw")
    images = {container["image"] for container in POD["initContainers"] + POD["containers"]}
    assert images == {f"versity/versitygw:{version}"}


def test_the_chart_takes_the_values_of_the_comment_and_reads_its_key_from_the_same_secret() -> None:
    options = [part for pair in re.findall(r"(--set) (\S+)", COMMENT) for part in pair]
    (container,) = job(render({}, *options))["template"]["spec"]["containers"]
    given = {entry["name"]: entry for entry in container["env"]}
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION"):
        assert given[name]["value"] == SECRET[name]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert given[name]["valueFrom"]["secretKeyRef"]["name"] == "graft-bucket"


def test_the_address_is_the_services() -> None:
    service, server = only(OBJECTS, "Service"), POD["containers"][0]
    (port,) = service["spec"]["ports"]
    meta = service["metadata"]
    assert (
        SECRET["AWS_ENDPOINT_URL_S3"] == f"http://{meta['name']}.{meta['namespace']}:{port['port']}"
    )
    assert [{"name": port["targetPort"], "containerPort": port["port"]}] == server["ports"]


def test_only_its_own_namespace_reaches_it() -> None:
    policy = only(OBJECTS, "NetworkPolicy")
    assert allows(policy, "Ingress", Peer(namespace={}), 7070)
    assert not allows(policy, "Ingress", Peer(), 7070)
    assert not allows(policy, "Egress", Peer(), 443)


def test_no_key_is_written_down() -> None:
    assert "Secret" not in {item["kind"] for item in OBJECTS}
    assert SECRET["AWS_SECRET_ACCESS_KEY"].startswith('"$(')

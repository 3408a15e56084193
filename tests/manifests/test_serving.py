"""The examples for servers: valid objects, on files that a release has, with commands that fit."""

import os
import re
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.chart.kinds import faults
from tests.chart.policies import Peer, allows
from tests.chart.rendering import Tree, only
from tests.manifests import schemas
from tests.manifests.examples import insecurities, objects, planted
from tools.paths import MANIFESTS, ROOT

pytestmark = pytest.mark.chart

FOLLOWING = "tensorflow-serving-follow"
NAMES = ("kserve", "tensorflow-serving", FOLLOWING, "triton")
FILES = {name: objects(f"serving/{name}.yaml") for name in NAMES}
KSERVE = only(FILES["kserve"], "InferenceService")
MODELS = {
    "Deployment": "V1Deployment",
    "NetworkPolicy": "V1NetworkPolicy",
    "Service": "V1Service",
    "ServiceAccount": "V1ServiceAccount",
}
PLAIN = [item for items in FILES.values() for item in items if item is not KSERVE]
RELEASE_PAGE = (ROOT / "docs" / "reference" / "release.md").read_text()
GUIDE = (ROOT / "docs" / "guides" / "serving.md").read_text()
# What stands for the client of Amazon: addresses are folders.
AWS = """#!/bin/sh
case "$2" in
  ls) case "$3" in
    */) ls -p "$3" | sed -n 's|^\\([^/]*\\)/$|                           PRE \\1/|p' ;;
    *) ls "$3" ;;
  esac ;;
  cp) cp -r "$5" "$6" ;;
esac
"""
of_deployments = pytest.mark.parametrize("name", ["tensorflow-serving", "triton"])


def comment(name: str) -> str:
    """The text above the objects, with its commands on one line each."""
    head = (MANIFESTS / "serving" / f"{name}.yaml").read_text().partition("\n---")[0]
    return re.sub(r"\\?\n# +", " ", head)


def pod(name: str) -> Tree:
    found: Tree = only(FILES[name], "Deployment")["spec"]["template"]["spec"]
    return found


def variables(container: Tree) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container["env"]}


@pytest.mark.parametrize(
    "item", PLAIN, ids=lambda item: f"{item['kind']} {item['metadata']['name']}"
)
def test_kubernetes_understands_the_object(item: Tree) -> None:
    assert faults(item, MODELS[item["kind"]]) == []


def test_kserves_definition_accepts_its_object() -> None:
    assert schemas.faults(KSERVE) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.predictor.model.storageURI", "s3://models/flowers"),
        ("spec.predictor.model.modelFormat", "tensorflow"),
        ("spec.predictor.minReplicas", "two"),
    ],
)
def test_kserves_definition_refuses_a_planted_fault(path: str, value: Any) -> None:
    assert schemas.faults(planted(KSERVE, path, value))


@pytest.mark.parametrize("name", ["tensorflow-serving", FOLLOWING, "triton"])
def test_its_pods_pass_pod_security_restricted(name: str) -> None:
    assert insecurities(name, pod(name)) == ""


@of_deployments
def test_what_is_copied_is_a_file_or_folder_of_a_release_in_a_layout_that_the_server_reads(
    name: str,
) -> None:
    (release,), (server,) = pod(name)["initContainers"], pod(name)["containers"]
    source, target = release["args"][-2:]
    file = PurePosixPath(source).name
    assert source == f"$(RELEASE)/{file}"
    assert re.search(rf"^ +{re.escape(file)}\b", RELEASE_PAGE, re.MULTILINE)
    if name == "triton":
        (repository,) = server["args"]
        folder = repository.removeprefix("--model-repository=")
        assert target == f"{folder}/flowers/1/{file}"
    else:
        assert f"--model_base_path={target}" in server["args"]
        # The version of the model is a folder below it.
        assert f"{file}/1/" in RELEASE_PAGE
    assert release["volumeMounts"] == server["volumeMounts"]


def test_a_container_beside_the_server_copies_the_newest_version_that_is_complete(
    tmp_path: Path,
) -> None:
    """Its script is run on folders."""
    server, follow = pod(FOLLOWING)["containers"]
    assert "--model_base_path=/models/flowers" in server["args"]
    assert follow["volumeMounts"] == server["volumeMounts"]
    (script,) = follow["args"]
    once = script.replace("while true; do", "for _ in once; do").replace("sleep 60", ":")
    once = once.replace("/models", str(tmp_path / "models"))
    (tmp_path / "aws").write_text(AWS)
    (tmp_path / "aws").chmod(0o755)

    def look(*complete: int) -> set[str]:
        for number in complete:
            folder = tmp_path / "bucket/serving" / str(number)
            folder.mkdir(parents=True)
            (folder / "saved_model.pb").touch()
        path = f"{tmp_path}:{os.environ['PATH']}"
        environment = {"PATH": path, "MODEL": str(tmp_path / "bucket")}
        subprocess.run(["sh", "-eu", "-c", once], env=environment, check=True, capture_output=True)
        return {path.name for path in (tmp_path / "models/flowers").iterdir()}

    assert look() == set()
    assert look(9) == {"9"}
    (tmp_path / "bucket/serving/10/variables").mkdir(parents=True)
    assert look() == {"9"}
    (tmp_path / "bucket/serving/10/saved_model.pb").touch()
    assert look() == {"9", "10"}
    assert look(11) == {"10", "11"}


@of_deployments
def test_the_command_of_the_comment_changes_the_variable_that_is_copied_from(name: str) -> None:
    (release,) = pod(name)["initContainers"]
    deployment = only(FILES[name], "Deployment")["metadata"]
    command = (
        f"kubectl --namespace {deployment['namespace']} set env "
        f"deployment/{deployment['name']} --containers={release['name']} "
    )
    assert f'{command}RELEASE="$release"' in comment(name)
    assert re.fullmatch(r"s3://models/flowers/releases/[0-9a-f]{16}", variables(release)["RELEASE"])


def test_the_command_for_kserve_patches_the_address_of_the_model() -> None:
    kserve = comment("kserve")
    assert '"{\\"spec\\": {\\"predictor\\": {\\"model\\": {\\"storageUri\\": ' in kserve
    uri = KSERVE["spec"]["predictor"]["model"]["storageUri"]
    assert re.fullmatch(r"s3://models/flowers/releases/[0-9a-f]{16}/saved_model", uri)
    assert "$release/saved_model" in kserve


@of_deployments
def test_its_service_and_probes_meet_the_ports_of_the_server(name: str) -> None:
    (server,) = pod(name)["containers"]
    service, policy = only(FILES[name], "Service"), only(FILES[name], "NetworkPolicy")
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    given = {port["targetPort"]: port["port"] for port in service["spec"]["ports"]}
    assert given == ports
    labels = only(FILES[name], "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == labels
    for port in ports.values():
        assert allows(policy, "Ingress", Peer(namespace={}), port)
        assert not allows(policy, "Ingress", Peer(), port)
    assert allows(policy, "Egress", Peer(), 443)
    assert not allows(policy, "Egress", Peer(), 6443)
    meta = service["metadata"]
    assert f"{meta['name']}.{meta['namespace']}:{ports['http']}" in GUIDE


def test_the_model_has_one_name_for_server_probe_and_request() -> None:
    (serving,), (triton,) = pod("tensorflow-serving")["containers"], pod("triton")["containers"]
    assert "--model_name=flowers" in serving["args"]
    assert serving["readinessProbe"]["httpGet"]["path"] == "/v1/models/flowers"
    assert triton["readinessProbe"]["httpGet"]["path"] == "/v2/models/flowers/ready"
    assert KSERVE["metadata"]["name"] == "flowers"
    assert GUIDE.count("/v1/models/flowers:predict") == 2
    assert '.infer("flowers", [pixels])' in GUIDE

"""checkov finds nothing in what we ship but what is explained here."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.chart.rendering import EXAMPLES, LAUNCHES, Tree, only, render
from tests.manifests.checkov import findings
from tests.manifests.examples import objects, planted
from tools.paths import MANIFESTS

pytestmark = pytest.mark.chart

RUNS = r"(CronJob|Job|Pod)\..+"
# Each check that we do not follow: for which objects, and why.
EXPLAINED = {
    "CKV_K8S_8": (
        r"Pod\..+-check",
        "`helm test` looks once and ends: there is nothing to keep alive.",
    ),
    "CKV_K8S_9": (r"Pod\..+-check", "Nor anything to be ready for: nobody calls it."),
    "CKV_K8S_11": (
        ".+",
        "No limit of CPU: what a node has to spare is the run's, and throttling helps nobody.",
    ),
    "CKV_K8S_15": (
        ".+",
        "`Always` needs a registry at each start, which a laptop may lack; a version's tag stays.",
    ),
    "CKV_K8S_35": (
        ".+",
        "The SDK and the S3 server read variables; with `credentials.format: file` it is a file.",
    ),
    "CKV_K8S_40": (
        RUNS,
        "The chart fixes no UID, since OpenShift gives its own. The image has 65532, never root.",
    ),
    "CKV_K8S_43": (
        ".+",
        "`image.digest` takes the digest of one's own registry. The bucket is for a laptop.",
    ),
    "CKV2_K8S_6": (
        RUNS,
        "A policy has to know one's own network: it is off until `networkPolicy.enabled`.",
    ),
}


def explained(finding: tuple[str, str, str]) -> bool:
    check, item, _ = finding
    return check in EXPLAINED and bool(re.fullmatch(EXPLAINED[check][0], item))


def everything() -> Iterator[tuple[str, list[Tree]]]:
    """All that we ship: the chart in its launches and examples, and the manifests."""
    for launch in LAUNCHES:
        yield f"chart-{launch}", render({"launch": launch})
    for example in EXAMPLES:
        yield f"chart-{example.stem}", render(yaml.safe_load(example.read_text()))
    for path in MANIFESTS.rglob("*.yaml"):
        yield f"manifest-{path.stem}", objects(str(path.relative_to(MANIFESTS)))


def found(folder: Path, *shipped: tuple[str, list[Tree]]) -> list[tuple[str, str, str]]:
    for name, items in shipped:
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(items))
    return findings(folder)


@pytest.fixture(scope="module")
def all_findings(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, str]]:
    return found(tmp_path_factory.mktemp("shipped"), *everything())


def test_nothing_is_found_that_is_not_explained(all_findings: list[tuple[str, str, str]]) -> None:
    assert [finding for finding in all_findings if not explained(finding)] == []


def test_nothing_is_explained_that_is_not_found(all_findings: list[tuple[str, str, str]]) -> None:
    assert {check for check, _, _ in all_findings} >= EXPLAINED.keys()


def test_a_careless_hand_is_found(tmp_path: Path) -> None:
    job = only(render({}), "Job")
    pod = "spec.template.spec"
    careless = planted(job, f"{pod}.hostNetwork", True)
    careless = planted(careless, f"{pod}.automountServiceAccountToken", True)
    careless = planted(careless, f"{pod}.containers.0.securityContext", {"privileged": True})
    careless = planted(careless, f"{pod}.containers.0.resources", {})
    careless = planted(
        careless,
        f"{pod}.containers.0.env.0",
        {"name": "AWS_ACCESS_KEY_ID", "value": f"AKIA{'Q7Z3' * 4}"},
    )
    names = {check for check, _, _ in found(tmp_path, ("careless", [careless]))} - EXPLAINED.keys()
    assert {
        "CKV_K8S_13",
        "CKV_K8S_16",
        "CKV_K8S_19",
        "CKV_K8S_20",
        "CKV_K8S_22",
        "CKV_K8S_38",
        "CKV_SECRET_2",
    } <= names

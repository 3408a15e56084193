"""The Argo CD and Flux examples: valid by their definitions, with values that the chart takes."""

from typing import Any

import pytest

from tests.chart.rendering import Tree, render
from tests.manifests import schemas
from tests.manifests.examples import IMAGE, objects, planted
from tools.helm import MAJORS

pytestmark = pytest.mark.chart

ARGO_CD, FLUX = objects("pipelines/argo-cd.yaml"), objects("pipelines/flux.yaml")
GIT, *HELM_RELEASES = FLUX
each_object = pytest.mark.parametrize(
    "item", [*ARGO_CD, *FLUX], ids=lambda item: f"{item['kind']} {item['metadata']['name']}"
)


def values(item: Tree) -> Tree:
    given: Tree = (
        item["spec"]["source"]["helm"]["valuesObject"]
        if "source" in item["spec"]
        else item["spec"]["values"]
    )
    return given


@each_object
def test_the_definition_accepts_the_object(item: Tree) -> None:
    assert schemas.faults(item) == []


@pytest.mark.parametrize(
    ("item", "path", "value"),
    [
        (ARGO_CD[0], "spec.syncPolicy.automated.purne", True),
        (ARGO_CD[0], "spec.syncPolicy.automated.prune", "yes"),
        (GIT, "spec.ref.tagg", "v1"),
        (GIT, "spec.interval", "ten minutes"),
        (HELM_RELEASES[1], "spec.install.disableWaitForJob", True),
        (HELM_RELEASES[1], "spec.install.disableWaitForJobs", "true"),
        (HELM_RELEASES[1], "spec.chart.spec.sourceRef.kind", "GitRepo"),
    ],
)
def test_the_definition_refuses_a_planted_fault(item: Tree, path: str, value: Any) -> None:
    assert schemas.faults(planted(item, path, value))


@pytest.mark.parametrize(
    "item",
    [*ARGO_CD, *HELM_RELEASES],
    ids=lambda item: f"{item['kind']} {item['metadata']['name']}",
)
@pytest.mark.parametrize("major", MAJORS)
def test_the_chart_takes_the_values(item: Tree, major: int) -> None:
    (run,) = [
        found for found in render(values(item), major=major) if found["kind"] in ("Job", "CronJob")
    ]
    assert run["kind"] == {"template": "CronJob", "run": "Job"}[values(item)["launch"]]
    template = run["spec"].get("jobTemplate", run)["spec"]["template"]
    assert template["spec"]["containers"][0]["image"] == IMAGE


def test_a_run_has_no_clock_that_would_make_argo_cd_or_flux_start_it_again() -> None:
    for item in (ARGO_CD[1], HELM_RELEASES[1]):
        (run,) = [found for found in render(values(item)) if found["kind"] == "Job"]
        assert "ttlSecondsAfterFinished" not in run["spec"]


def test_argo_cd_ends_the_run_that_another_one_replaces() -> None:
    assert all(item["spec"]["syncPolicy"]["automated"]["prune"] for item in ARGO_CD)


def test_flux_does_not_wait_for_a_run_that_takes_longer_than_its_patience() -> None:
    spec = HELM_RELEASES[1]["spec"]
    assert values(HELM_RELEASES[1])["launch"] == "run"
    for verb in ("install", "upgrade"):
        assert spec[verb]["disableWaitForJobs"]
        assert spec[verb]["disableWait"]  # a Job in a queue of Kueue has not begun


def test_a_helm_release_takes_the_chart_from_the_source_beside_it() -> None:
    for item in HELM_RELEASES:
        chart = item["spec"]["chart"]["spec"]
        assert chart["sourceRef"] == {"kind": GIT["kind"], "name": GIT["metadata"]["name"]}
        assert chart["chart"] == "helm"

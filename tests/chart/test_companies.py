"""What companies add to a chart: disks, registries, labels, sidecars, and objects of their own."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import (
    EXAMPLES,
    LAUNCHES,
    RefusedError,
    Tree,
    job,
    only,
    pods,
    render,
    run_helm,
    training,
)
from tools.helm import MAJORS
from tools.paths import CHART

pytestmark = pytest.mark.chart


def disk(**values: Any) -> Tree:
    """What the run asks for of its node's disk: the request, then the limit."""
    resources = training(job(render(values))["template"])["resources"]
    return {kind: resources[kind].get("ephemeral-storage") for kind in ("requests", "limits")}


@pytest.mark.parametrize(
    ("values", "asked"),
    [
        ({}, "31744Mi"),
        ({"cache": {"size": "1Ti"}, "scratch": {"size": "512Mi"}}, "1050112Mi"),
        ({"cache": {"claim": "shared"}}, "11264Mi"),
        ({"cache": {"ephemeral": True}}, "11264Mi"),
        ({"resources": {"limits": {"ephemeral-storage": "5Gi"}}}, "5Gi"),
        ({"resources": {"requests": {"ephemeral-storage": "5Gi"}}}, "5Gi"),
        ({"requestNodeDisk": False}, None),
    ],
    ids=str,
)
def test_the_pod_asks_for_the_disk_that_its_volumes_may_fill(
    values: Tree, asked: str | None
) -> None:
    assert disk(**values) == {"requests": asked, "limits": asked}


def test_each_pod_may_have_a_volume_of_its_own_from_a_storage_class() -> None:
    values = {"cache": {"ephemeral": True, "storageClass": "fast", "size": "200Gi"}}
    run, test = pods(render(values))
    (cache,) = [volume for volume in run["spec"]["volumes"] if volume["name"] == "cache"]
    claim = cache["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert claim == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "200Gi"}},
    }
    assert not [volume for volume in test["spec"]["volumes"] if "ephemeral" in volume]


def test_a_pod_goes_to_nodes_of_the_images_architecture_unless_it_has_several() -> None:
    def selector(**values: Any) -> Any:
        return job(render(values))["template"]["spec"].get("nodeSelector")

    assert selector() == {"kubernetes.io/arch": "amd64"}
    assert selector(nodeSelector={"disk": "ssd"}) == {"kubernetes.io/arch": "amd64", "disk": "ssd"}
    assert selector(nodeSelector={"kubernetes.io/arch": "arm64"}) == {"kubernetes.io/arch": "arm64"}
    assert selector(architecture="") is None


@pytest.mark.parametrize(
    ("repository", "registry", "image"),
    [
        ("graft", "mirror:5000", "mirror:5000/graft:0.1.0"),
        ("registry.example.com/team/graft", "mirror.corp/x/", "mirror.corp/x/team/graft:0.1.0"),
        ("localhost/graft", "mirror.corp", "mirror.corp/graft:0.1.0"),
        ("team/graft", "mirror.corp", "mirror.corp/team/graft:0.1.0"),
        ("registry.example.com/graft", "", "registry.example.com/graft:0.1.0"),
    ],
)
def test_one_registry_takes_the_place_of_all(repository: str, registry: str, image: str) -> None:
    values = {"image": {"repository": repository}, "global": {"imageRegistry": registry}}
    assert training(job(render(values))["template"])["image"] == image


def test_secrets_of_registries_come_by_name_or_as_objects_each_once() -> None:
    values = {
        "imagePullSecrets": [{"name": "own"}, {"name": "both"}],
        "global": {"imagePullSecrets": ["both", {"name": "all"}]},
    }
    secrets = job(render(values))["template"]["spec"]["imagePullSecrets"]
    assert secrets == [{"name": "own"}, {"name": "both"}, {"name": "all"}]


def test_labels_and_annotations_reach_jobs_pods_and_everything_else() -> None:
    marks = {
        "commonLabels": {"cost": "4711", "team": "all"},
        "commonAnnotations": {"owner": "us"},
        "jobLabels": {"kueue.x-k8s.io/priority-class": "low", "team": "jobs"},
        "jobAnnotations": {"note": "job"},
    }
    for launch in LAUNCHES:
        objects = render(
            {"launch": launch, "workers": 2, "podMonitor": {"enabled": True}}
            | {"networkPolicy": {"enabled": True}, "dashboard": {"enabled": True}}
            | marks
        )
        (outer,) = [item for item in objects if item["kind"] in ("Job", "CronJob")]
        holder = outer if launch == "run" else outer["spec"]["jobTemplate"]
        assert holder["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "low"
        assert holder["metadata"]["labels"]["team"] == "jobs"
        assert holder["metadata"]["annotations"] == {"note": "job", "owner": "us"}
        for metadata in [item["metadata"] for item in [*objects, holder, *pods(objects)]]:
            assert metadata["labels"]["cost"] == "4711"
            assert metadata["annotations"]["owner"] == "us"


def test_another_name_of_the_application_keeps_selectors_and_labels_together() -> None:
    objects = render({"nameOverride": "trainer", "podMonitor": {"enabled": True}})
    labels = job(objects)["template"]["metadata"]["labels"]
    monitor = only(objects, "PodMonitor")
    assert labels["app.kubernetes.io/name"] == "trainer"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_objects_of_ones_own_are_templates() -> None:
    own = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-a"}}
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Values.launch }}-b'}"
    objects = render({"extraObjects": [own, text]})
    names = [item["metadata"]["name"] for item in objects if item["kind"] == "ConfigMap"]
    assert names == ["flowers-a", "run-b"]


@pytest.mark.parametrize("major", [3, 4])
def test_pods_are_spread_by_the_labels_that_they_carry_unless_others_are_named(major: int) -> None:
    spread = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    named = {"labelSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}}
    values = {"topologySpreadConstraints": [spread, spread | named]}
    for pod in pods(render(values, major=major)):
        ours, theirs = pod["spec"]["topologySpreadConstraints"]
        wanted = ours["labelSelector"].pop("matchLabels")
        assert wanted.items() <= pod["metadata"]["labels"].items()
        assert len(wanted) == 4
        assert ours == spread | {"labelSelector": {}}
        assert theirs == spread | named


def test_what_is_added_to_the_security_of_a_pod_weakens_nothing() -> None:
    values = {
        "podSecurityContext": {"supplementalGroups": [5000], "fsGroupChangePolicy": "Always"},
        "containerSecurityContext": {"appArmorProfile": {"type": "RuntimeDefault"}},
        "runAs": {"fsGroup": 2000},
    }
    pod = job(render(values))["template"]
    context = pod["spec"]["securityContext"]
    assert (context["supplementalGroups"], context["fsGroupChangePolicy"]) == ([5000], "Always")
    assert context["runAsNonRoot"]
    assert training(pod)["securityContext"]["appArmorProfile"] == {"type": "RuntimeDefault"}
    weaker_contexts: list[Tree] = [
        {"runAsNonRoot": False},
        {"runAsUser": 0},
        {"seccompProfile": {}},
    ]
    for weaker in weaker_contexts:
        with pytest.raises(RefusedError, match="podSecurityContext"):
            render({"podSecurityContext": weaker})
    with pytest.raises(RefusedError, match="containerSecurityContext"):
        render({"containerSecurityContext": {"privileged": True}})


def test_the_test_leaves_nothing_and_is_watched_by_nobody() -> None:
    objects = render({"podMonitor": {"enabled": True}, "workers": 2})
    run, test = pods(objects)
    annotations, labels = test["metadata"]["annotations"], test["metadata"]["labels"]
    assert "hook-succeeded" in annotations["helm.sh/hook-delete-policy"]
    assert "ports" not in training(test)
    for selector in (
        only(objects, "PodMonitor")["spec"]["selector"]["matchLabels"],
        only(objects, "Service")["spec"]["selector"],
    ):
        assert selector.items() <= run["metadata"]["labels"].items()
        assert not selector.items() <= labels.items()


@pytest.mark.parametrize("major", MAJORS)
def test_the_page_of_the_chart_is_in_its_package(major: int, tmp_path: Path) -> None:
    run_helm(major, "package", str(EXAMPLES[0].parents[1]), "--destination", str(tmp_path))
    (package,) = tmp_path.glob("graft-*.tgz")
    assert "# The chart of Graft" in run_helm(major, "show", "readme", str(package))


def test_the_chart_says_about_itself_what_artifact_hub_reads() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    marks = {
        key.removeprefix("artifacthub.io/"): value for key, value in about["annotations"].items()
    }
    assert marks["license"] in (CHART.parent / "pyproject.toml").read_text()
    assert marks["category"] == "ai-machine-learning"
    kinds = {"added", "changed", "deprecated", "removed", "fixed", "security"}
    changes = yaml.safe_load(marks["changes"])
    assert changes
    assert {change["kind"] for change in changes} <= kinds
    assert all(isinstance(value, str) for value in about["annotations"].values())
    assert [person["name"] for person in about["maintainers"]]

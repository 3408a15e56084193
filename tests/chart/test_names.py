"""A release is a run: another name means another run.

Names follow what cannot be changed and nothing else.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import (
    LEAST,
    Tree,
    copied,
    environment,
    job,
    merged,
    only,
    render,
    run_helm,
)
from tools.paths import CHART

pytestmark = pytest.mark.chart

VOLATILE: list[Tree] = [
    {"job": {"ttlSecondsAfterFinished": 600}},
    {"job": {"retries": 7}},
    {"job": {"activeDeadlineSeconds": 60}},
    {"podMonitor": {"enabled": True}},
    {"networkPolicy": {"enabled": True}},
    {"schedule": {"cron": "@daily"}},
    {
        "serviceAccount": {
            "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/graft"}
        }
    },
]
IMMUTABLE: list[Tree] = [
    {"run": {"again": "2"}},
    {"run": {"attempt": "2"}},
    {"queue": "training"},
    {"settings": {"training": {"learning_rate": 0.01}}},
    {"settings": {"gate": {"min_score": 0.5}}},
    {"image": {"tag": "0.2.0"}},
    {"resources": {"limits": {"memory": "16Gi"}}},
    {"gpus": {"count": 1}},
    {"workers": 2},
    {"job": {"terminationGracePeriodSeconds": 300}},
    {"podLabels": {"team": "vision"}},
    {"cache": {"claim": "shared"}},
]


def run_name(values: Tree | None = None, **options: Any) -> str:
    return str(only(render(values, **options), "Job")["metadata"]["name"])


@pytest.mark.parametrize("values", VOLATILE, ids=str)
def test_what_can_be_changed_in_place_starts_nothing(values: Tree) -> None:
    assert run_name(values) == run_name()
    assert job(render(values))["template"] == job(render())["template"]


@pytest.mark.parametrize("values", IMMUTABLE, ids=str)
def test_what_cannot_be_changed_is_another_run(values: Tree) -> None:
    assert run_name(values) != run_name()


def test_each_immutable_change_is_a_run_of_its_own_and_the_same_under_both_helms() -> None:
    names = [run_name(values) for values in IMMUTABLE]
    assert len(set(names)) == len(IMMUTABLE)
    assert names == [run_name(values, major=4) for values in IMMUTABLE]


def test_another_attempt_is_the_same_run_to_graft_and_learning_anew_is_not() -> None:
    """So one goes on from the checkpoint of its run id, and the other has a run id of its own."""
    assert job(render({"run": {"attempt": "2"}})) == job(render())
    assert "GRAFT_AGAIN" not in environment(render({"run": {"attempt": "2"}}))
    assert environment(render({"run": {"again": "2"}}))["GRAFT_AGAIN"] == "2"


def test_the_order_of_the_values_and_the_way_they_are_given_do_not_matter() -> None:
    assert run_name(
        {"settings": {"training": {"epochs": 3, "batch_size": 16}}, "gpus": {"count": 1}}
    ) == run_name(
        {"gpus": {"count": 1}, "settings": {"training": {"batch_size": "16", "epochs": "3"}}}
    )


def test_another_version_of_the_chart_starts_nothing(tmp_path: Path) -> None:
    newer = copied(tmp_path, ("Chart.yaml", "\nversion: 0.1.0", "\nversion: 9.9.9"))
    assert render(chart=newer) != render()
    assert run_name(chart=newer) == run_name()
    assert only(render(chart=newer), "Job")["spec"] == only(render(), "Job")["spec"]


def test_another_version_of_graft_is_another_run(tmp_path: Path) -> None:
    assert (
        run_name(chart=copied(tmp_path, ("Chart.yaml", "appVersion: 0.1.0", "appVersion: 0.2.0")))
        != run_name()
    )


def test_an_upgrade_renders_what_the_install_did() -> None:
    assert render() == render(None, "--is-upgrade")


@pytest.mark.parametrize(
    "field", ["podFailurePolicy", "template", "completions", "completionMode", "successPolicy"]
)
def test_the_digest_covers_each_immutable_field(tmp_path: Path, field: str) -> None:
    additions = {
        "podFailurePolicy": ("values: [2, 3, 4, 5, 6]", "values: [2, 3, 4, 5]"),
        "template": ("restartPolicy: Never", "restartPolicy: OnFailure"),
        "completions": (
            "podReplacementPolicy: Failed",
            "podReplacementPolicy: Failed\ncompletions: 2",
        ),
        "completionMode": (
            "podReplacementPolicy: Failed",
            "podReplacementPolicy: Failed\ncompletionMode: Indexed",
        ),
        "successPolicy": (
            "podReplacementPolicy: Failed",
            "podReplacementPolicy: Failed\nsuccessPolicy: {rules: []}",
        ),
    }
    name = "templates/_pod.tpl" if field == "template" else "templates/_job.tpl"
    assert run_name(chart=copied(tmp_path, (name, *additions[field]))) != run_name()


def test_a_run_has_room_for_an_index_and_a_schedule_for_a_time_and_long_names_stay_apart() -> None:
    longest, neighbour = "r" * 53, "r" * 52 + "s"
    assert len(run_name(release=longest)) <= 63 - len("-999")
    schedules = [
        only(render({"launch": "schedule"}, release=release), "CronJob")["metadata"]["name"]
        for release in (longest, neighbour)
    ]
    assert all(len(name) <= 52 for name in schedules)
    assert schedules[0] != schedules[1]
    assert run_name(release=longest)[:-11] != run_name(release=neighbour)[:-11]


def test_the_jobs_of_a_schedule_have_room_for_a_time_and_an_index() -> None:
    schedule = only(render({"launch": "schedule", "workers": 2}, release="r" * 53), "CronJob")[
        "metadata"
    ]["name"]
    assert len(schedule) + len("-28000000") + len("-999") <= 63


@pytest.mark.parametrize("override", ["n" * 63, "a" * 39 + "-" * 5 + "b" * 19])
def test_a_long_name_of_ones_own_is_cut_to_a_valid_one(override: str) -> None:
    for launch in ("run", "schedule"):
        for item in render({"launch": launch, "fullnameOverride": override, "workers": 2}):
            name = item["metadata"]["name"]
            assert len(name) <= 63
            assert name.strip("-.") == name


def test_the_model_is_named_after_the_release_unless_it_has_a_name() -> None:
    assert environment(render())["GRAFT_NAME"] == "flowers"
    assert environment(render({"settings": {"name": "roses"}}))["GRAFT_NAME"] == "roses"


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """A chart that depends on ours twice, under two names, one of them on a condition."""
    chart = tmp_path / "parent"
    shutil.copytree(CHART, chart / "charts" / "graft")
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    dependency = {"name": "graft", "version": version}
    about = {
        "apiVersion": "v2",
        "name": "parent",
        "version": "1.0.0",
        "dependencies": [
            {**dependency, "alias": "cats"},
            {**dependency, "alias": "dogs", "condition": "dogs.enabled"},
        ],
    }
    (chart / "Chart.yaml").write_text(yaml.safe_dump(about))
    return chart


@pytest.mark.parametrize("major", [3, 4])
def test_the_chart_is_a_dependency_twice_with_global_values_and_a_condition(
    parent: Path, major: int
) -> None:
    def rendered(*, dogs: bool) -> list[Tree]:
        given = {
            "global": {"domain": "example.com"},
            "cats": LEAST,
            "dogs": merged(LEAST, {"enabled": dogs}),
        }
        text = run_helm(major, "template", "zoo", str(parent), "--values", "-", given=given)
        return [item for item in yaml.safe_load_all(text) if item]

    both = rendered(dogs=True)
    names = [(item["kind"], item["metadata"]["name"]) for item in both]
    assert len(names) == len(set(names)) == 6
    jobs = [item for item in both if item["kind"] == "Job"]
    assert {environment([item])["GRAFT_NAME"] for item in jobs} == {"zoo-cats", "zoo-dogs"}
    labels = [item["spec"]["template"]["metadata"]["labels"] for item in jobs]
    assert labels[0] != labels[1]
    assert len(rendered(dogs=False)) == 3

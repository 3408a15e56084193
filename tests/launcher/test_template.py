"""The Job that is built from a template: names, labels, owner, environment."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes import client

from job.errors import SettingsError
from job.launcher.objects import Json
from job.launcher.template import build_job, build_run_name, replace_variables
from tests.launcher.objects import env, template

QUEUE = {"kueue.x-k8s.io/queue-name": "gpus"}


def made(cron_job: Json, key: str | None = "k", **changes: str) -> Json:
    return build_job(cron_job, changes, key)


def test_labels_annotations_and_specification_are_the_templates() -> None:
    cron_job = template()
    cron_job["spec"]["jobTemplate"]["metadata"]["annotations"] = {"team": "vision"}
    job = made(cron_job)
    assert job["metadata"]["labels"] == cron_job["spec"]["jobTemplate"]["metadata"]["labels"]
    assert job["metadata"]["annotations"] == {
        "team": "vision",
        "cronjob.kubernetes.io/instantiate": "manual",
    }
    assert job["spec"] == cron_job["spec"]["jobTemplate"]["spec"]


def test_the_job_is_one_to_the_clients_own_strict_model() -> None:
    cron_job = template()
    cron_job["spec"]["jobTemplate"]["spec"]["suspend"] = True
    model: Any = client.V1Job.model_validate(made(cron_job, GRAFT_SEED="7"))
    assert model.metadata.owner_references[0].controller is None
    assert model.spec.suspend is None


def test_the_template_itself_stays_as_it_was() -> None:
    cron_job = template()
    made(cron_job, GRAFT_SEED="7")
    assert cron_job == template()


def test_the_owner_collects_the_job_but_does_not_control_it() -> None:
    (owner,) = made(template())["metadata"]["ownerReferences"]
    assert owner == {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": "graft",
        "uid": template()["metadata"]["uid"],
    }


@pytest.mark.parametrize(("labels", "kept"), [({}, False), (QUEUE, True)])
def test_a_template_is_suspended_and_its_job_is_not_unless_kueue_says_so(
    labels: dict[str, str], kept: bool
) -> None:
    cron_job = template()
    cron_job["spec"]["jobTemplate"]["metadata"]["labels"] |= labels
    assert "suspend" not in made(cron_job)["spec"]
    cron_job["spec"]["jobTemplate"]["spec"]["suspend"] = True
    assert ("suspend" in made(cron_job)["spec"]) is kept


def test_a_changed_setting_takes_the_place_of_the_old_one() -> None:
    job = made(template(), GRAFT_NAME="roses", GRAFT_SEED="7")
    names = [entry["name"] for entry in env(job)]
    before = [entry["name"] for entry in env(template()["spec"]["jobTemplate"])]
    assert names == [*before, "GRAFT_SEED"]
    assert {"name": "GRAFT_NAME", "value": "roses"} in env(job)


def test_a_changed_setting_replaces_a_reference_to_a_secret_and_a_double() -> None:
    entries: list[Json] = [
        {"name": "A", "value": "1"},
        {"name": "B", "valueFrom": {}},
        {"name": "A", "value": "2"},
    ]
    assert replace_variables(entries, {}) == [
        {"name": "A", "value": "2"},
        {"name": "B", "valueFrom": {}},
    ]
    assert replace_variables(entries, {"B": "3"}) == [
        {"name": "A", "value": "2"},
        {"name": "B", "value": "3"},
    ]


def test_a_value_means_what_it_says_to_kubernetes_too() -> None:
    assert replace_variables([], {"A": "$(HOME) costs $5"}) == [
        {"name": "A", "value": "$$(HOME) costs $$5"}
    ]


def test_one_key_is_one_name_and_no_key_is_another_each_time() -> None:
    assert build_run_name("graft", "uid") == build_run_name("graft", "uid")
    assert (
        len(
            {
                build_run_name("graft", "uid"),
                build_run_name("graft", "uid2"),
                build_run_name("graft2", "uid"),
            }
        )
        == 3
    )
    assert build_run_name("graft", None) != build_run_name("graft", None)


@given(
    st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,50}[a-z0-9])?", fullmatch=True),
    st.text(),
    st.integers(0, 4),
)
def test_a_name_fits_and_its_digest_is_never_cut(name: str, key: str, index_length: int) -> None:
    run = build_run_name(name, key, index_length)
    assert len(run) <= 63 - index_length
    assert build_run_name("x", key).removeprefix("x-").isalnum()
    assert len(run.rpartition("-")[2]) == 10
    assert name.startswith(run.rpartition("-")[0])


def test_an_indexed_job_leaves_room_for_its_pods_numbers() -> None:
    cron_job = template(name="a" * 52)
    cron_job["spec"]["jobTemplate"]["spec"] |= {"completionMode": "Indexed", "completions": 11}
    assert len(made(cron_job)["metadata"]["name"]) == 63 - len("-10")


def test_a_cronjob_that_is_not_ours_is_refused() -> None:
    cron_job = template()
    cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["name"] = "backup"
    with pytest.raises(SettingsError, match="no container named graft"):
        made(cron_job)

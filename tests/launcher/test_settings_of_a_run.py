"""Settings are looked at before anything is created, by the same rules as in the run itself."""

import os

import pytest

from job.errors import SettingsError
from job.launcher.submission import check
from tests.launcher.objects import Json

GOOD = {
    "GRAFT_NAME": "flowers",
    "GRAFT_DATASET_URI": "s3://data/flowers",
    "GRAFT_OUTPUT_URI": "s3://models",
}
SECRET: Json = {"secretKeyRef": {"name": "addresses", "key": "data"}}


def container(*more: Json, without: str = "", **changes: str) -> Json:
    plain = {name: value for name, value in (GOOD | changes).items() if name != without}
    return {
        "name": "graft",
        "env": [*({"name": name, "value": value} for name, value in plain.items()), *more],
    }


def test_good_settings_pass_and_leave_our_own_alone(monkeypatch):
    monkeypatch.setenv("GRAFT_RESULT_PATH", "/mine")
    monkeypatch.setenv("GRAFT_NO_SUCH", "ours, and not the run's")
    before = dict(os.environ)
    check(container({"name": "HOME", "value": "/tmp"}))
    assert dict(os.environ) == before


def test_every_problem_is_told_at_once_and_our_environment_is_as_before(monkeypatch):
    monkeypatch.setenv("GRAFT_TRAINING_EPOCHS", "ours")
    with pytest.raises(SettingsError) as refused:
        check(container(GRAFT_TRAINING_EPOCHS="-1", GRAFT_TRAINING_EPOCH="5"))
    assert len(refused.value.problems) == 2
    assert "GRAFT_TRAINING_EPOCHS" in str(refused.value)
    assert os.environ["GRAFT_TRAINING_EPOCHS"] == "ours"


def test_a_missing_address_is_found():
    with pytest.raises(SettingsError, match="GRAFT_OUTPUT_URI is required"):
        check(container(without="GRAFT_OUTPUT_URI"))


def test_an_address_from_a_secret_is_taken_for_good():
    check(container({"name": "GRAFT_OUTPUT_URI", "valueFrom": SECRET}, without="GRAFT_OUTPUT_URI"))


def test_addresses_may_come_from_a_config_map_as_a_whole():
    check({"name": "graft", "envFrom": [{"configMapRef": {"name": "addresses"}}]})


def test_the_name_of_a_variable_from_a_secret_is_looked_at():
    with pytest.raises(
        SettingsError, match="GRAFT_SEEED is unknown; the nearest setting is GRAFT_SEED"
    ):
        check(container({"name": "GRAFT_SEEED", "valueFrom": SECRET}))


def test_a_reference_to_another_variable_is_followed_as_kubernetes_does():
    check(container({"name": "N", "value": "5"}, {"name": "GRAFT_SEED", "value": "$(N)"}))
    check(container({"name": "GRAFT_AGAIN", "value": "$$(N)"}))
    with pytest.raises(SettingsError, match=r"GRAFT_SEED='\$\(N\)'"):
        check(container({"name": "GRAFT_SEED", "value": "$(N)"}, {"name": "N", "value": "5"}))

"""Settings are checked before anything is created, by the same rules as in the run itself."""

import os

import pytest

from job.errors import SettingsError
from job.launcher.objects import Json
from job.launcher.submission import check_settings

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


def test_good_settings_pass_whatever_our_own_environment_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRAFT_RESULT_PATH", "/mine")
    monkeypatch.setenv("GRAFT_NO_SUCH", "ours, and not the run's")
    before = dict(os.environ)
    check_settings(container({"name": "HOME", "value": "/tmp"}))
    assert dict(os.environ) == before


def test_every_problem_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_TRAINING_EPOCHS", "ours")
    with pytest.raises(SettingsError) as refused:
        check_settings(container(GRAFT_TRAINING_EPOCHS="-1", GRAFT_TRAINING_EPOCH="5"))
    assert len(refused.value.problems) == 2
    assert "GRAFT_TRAINING_EPOCHS" in str(refused.value)
    assert "'ours'" not in str(refused.value)


def test_a_missing_address_is_found() -> None:
    with pytest.raises(SettingsError, match="GRAFT_OUTPUT_URI is required"):
        check_settings(container(without="GRAFT_OUTPUT_URI"))


def test_an_address_from_a_secret_is_accepted() -> None:
    check_settings(
        container({"name": "GRAFT_OUTPUT_URI", "valueFrom": SECRET}, without="GRAFT_OUTPUT_URI")
    )


def test_addresses_may_come_from_a_config_map_as_a_whole() -> None:
    check_settings({"name": "graft", "envFrom": [{"configMapRef": {"name": "addresses"}}]})


def test_the_name_of_a_variable_from_a_secret_is_checked() -> None:
    with pytest.raises(
        SettingsError, match="GRAFT_SEEED is unknown; the nearest setting is GRAFT_SEED"
    ):
        check_settings(container({"name": "GRAFT_SEEED", "valueFrom": SECRET}))


def test_a_reference_to_another_variable_is_followed_as_kubernetes_does() -> None:
    check_settings(container({"name": "N", "value": "5"}, {"name": "GRAFT_SEED", "value": "$(N)"}))
    check_settings(container({"name": "GRAFT_AGAIN", "value": "$$(N)"}))
    with pytest.raises(SettingsError, match=r"GRAFT_SEED='\$\(N\)'"):
        check_settings(
            container({"name": "GRAFT_SEED", "value": "$(N)"}, {"name": "N", "value": "5"})
        )

"""The words of the command line, and the verbs that need no release."""

import json
import re
import subprocess
import sys

import pytest

from tests.pipeline.conftest import graft, measured_graft

VERBS = (
    "run", "check", "plan", "settings", "init", "completion", "verify", "releases", "show",
    "predict", "evaluate", "promote",
)  # fmt: skip


def test_help_names_each_verb_with_a_sentence_and_the_exit_codes() -> None:
    ended = graft("--help")
    assert ended.code == 0
    for verb in VERBS:
        assert re.search(rf"\n    {verb}\s+[A-Z]", ended.out)
    assert "graft settings --describe" in " ".join(ended.out.split())
    for code in (
        "2 settings",
        "3 dataset",
        "4 weights",
        "5 diverged",
        "6 below the gate",
        "75 try again",
    ):
        assert code in " ".join(ended.out.split())


@pytest.mark.parametrize("verb", ["evaluate", "predict", "promote", "verify"])
def test_help_of_a_verb_says_what_it_takes(verb: str) -> None:
    ended = graft(verb, "--help")
    assert ended.code == 0
    assert "release" in ended.out.lower()


@pytest.mark.parametrize(
    "words",
    [
        ("fly",),
        ("verify",),
        ("run", "photos", "models", "more"),
        ("run", "--fast"),
        ("predict", "file:///r"),
        ("evaluate", "file:///r"),
    ],
)
def test_words_that_are_not_understood_are_usage_errors(words: tuple[str, ...]) -> None:
    ended = graft(*words)
    assert ended.code == 2
    first, *others = map(json.loads, ended.err.splitlines())
    assert first["message"].startswith("usage: graft")
    # A run owes a result too.
    assert [line["status"] for line in others] == ["failed"] * (words[0] == "run")


def test_settings_prints_every_setting_and_no_secret() -> None:
    ended = measured_graft(
        "settings",
        GRAFT_DATASET_URI="file:///data",
        GRAFT_OUTPUT_URI="s3://models",
        GRAFT_TRAINING_EPOCHS="7",
        AWS_ACCESS_KEY_ID="AKIAEXAMPLE",
        AWS_SECRET_ACCESS_KEY="very-secret",
        AWS_SESSION_TOKEN="very-secret-too",
    )
    values = json.loads(ended.out)
    assert ended.code == 0
    assert values["GRAFT_TRAINING_EPOCHS"] == 7
    assert values["GRAFT_EXPORT_FORMATS"] == ["saved_model", "keras"]
    assert all(name.startswith("GRAFT_") for name in values)
    assert "secret" not in ended.out + ended.err
    assert "AKIA" not in ended.out + ended.err


def test_settings_that_cannot_work_are_told_in_words() -> None:
    ended = graft("settings", GRAFT_SEDE="1")
    assert ended.code == 2
    assert ended.out == ""
    assert ended.told.splitlines()[0] == "3 settings cannot work:"
    assert "  - GRAFT_SEDE is unknown; the nearest setting is GRAFT_SEED." in ended.told


@pytest.mark.parametrize("verb", ["verify", "promote"])
@pytest.mark.parametrize(("uri", "code"), [("nowhere", 2), ("file:///no/such/releases/0123", 2)])
def test_a_release_that_is_not_there_is_said_in_one_sentence_and_its_cure(
    verb: str, uri: str, code: int
) -> None:
    ended = measured_graft(verb, uri)
    assert ended.code == code
    assert 1 < len(ended.told.splitlines()) <= 3
    assert "Traceback" not in ended.err


def test_a_reader_that_stops_reading_is_no_failure() -> None:
    command = f"{sys.executable} -m job settings | head -n 1; echo ${{PIPESTATUS[0]}}"
    environment = {"GRAFT_DATASET_URI": "file:///d", "GRAFT_OUTPUT_URI": "file:///o"}
    process = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, check=True
    )
    assert process.stdout.splitlines()[-1] == "0"

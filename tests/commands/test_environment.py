"""The command line, a file of variables and the environment: which of them a verb listens to."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from job import settings
from job.__main__ import main
from job.errors import SettingsError
from tools.paths import ROOT

Output = pytest.CaptureFixture[str]


def values_of(capsys: Output, *words: str) -> dict[str, Any]:
    """What `graft settings` prints for these words."""
    assert main(["settings", *words]) == 0
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    return values


def message_of(capsys: Output) -> str:
    """What was said beside the answer. The result of a run is no message."""
    records = map(json.loads, capsys.readouterr().err.splitlines())
    return "\n".join(record["message"] for record in records if "logger" in record)


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    path = tmp_path / "graft.env"
    path.write_text("GRAFT_SEED=2\nGRAFT_TRAINING_EPOCHS=20\n")
    return path


def test_paths_on_the_command_line_become_absolute_addresses(
    capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = values_of(capsys, "my photos", "../models")
    assert values["GRAFT_DATASET_URI"] == f"{tmp_path.as_uri()}/my%20photos"
    assert values["GRAFT_OUTPUT_URI"] == f"{tmp_path.as_uri()}/../models"


def test_a_home_is_found_and_a_uri_stays_as_it_is(
    capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    values = values_of(capsys, "~/photos", "s3://models/team a")
    assert values["GRAFT_DATASET_URI"] == f"{tmp_path.as_uri()}/photos"
    assert values["GRAFT_OUTPUT_URI"] == "s3://models/team a"


def test_the_command_line_wins_over_the_file_and_the_file_over_the_environment(
    capsys: Output, env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_DATASET_URI", "file:///exported")
    monkeypatch.setenv("GRAFT_TRAINING_EPOCHS", "10")
    monkeypatch.setenv("GRAFT_TRAINING_PATIENCE", "1")
    monkeypatch.setenv("GRAFT_SEED", "1")
    values = values_of(
        capsys, "/given", "s3://models", "--set", "seed=3", "--env-file", str(env_file)
    )
    assert values["GRAFT_DATASET_URI"] == "file:///given"
    assert values["GRAFT_SEED"] == 3
    assert values["GRAFT_TRAINING_EPOCHS"] == 20
    assert values["GRAFT_TRAINING_PATIENCE"] == 1
    assert os.environ["GRAFT_SEED"] == "1"


@pytest.mark.parametrize(
    "words",
    [
        ("/d", "--set", "training.epochs=7", "/o"),
        ("--set=GRAFT_TRAINING_EPOCHS=7", "/d", "/o"),
        ("/d", "/o", "--set", "training.epochs=1", "--set", "training.epochs=7"),
        ("--set", "dataset.uri=file:///d", "--set", "output.uri=file:///o", "--set",
         "training.epochs=7"),
    ],
)  # fmt: skip
def test_a_setting_has_two_spellings_any_place_and_its_last_value(
    capsys: Output, words: tuple[str, ...]
) -> None:
    values = values_of(capsys, *words)
    assert values["GRAFT_TRAINING_EPOCHS"] == 7
    assert (values["GRAFT_DATASET_URI"], values["GRAFT_OUTPUT_URI"]) == ("file:///d", "file:///o")


@pytest.mark.parametrize("text", ["training.epochs", "Training-Epochs=1", "=5"])
def test_what_is_no_assignment_is_a_usage_error(capsys: Output, text: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["settings", "/d", "/o", "--set", text])
    assert "expected" in message_of(capsys)


@pytest.mark.parametrize("verb", ["check", "plan", "settings"])
def test_a_place_that_is_given_twice_is_refused(capsys: Output, verb: str) -> None:
    assert main([verb, "/d", "/o", "--set", "dataset.uri=s3://data"]) == 2
    assert message_of(capsys).startswith("GRAFT_DATASET_URI is given twice: '/d' and --set")


def test_a_misspelt_setting_on_the_command_line_is_named_as_its_variable(capsys: Output) -> None:
    assert main(["check", "/d", "/o", "--set", "training.epocs=1"]) == 2
    assert "GRAFT_TRAINING_EPOCS is unknown; the nearest setting is" in message_of(capsys)


def test_a_run_that_cannot_begin_writes_its_result_where_the_command_line_says(
    capsys: Output, tmp_path: Path
) -> None:
    path = tmp_path / "result.json"
    assert main(["run", "/d", "/o", "--set", f"result.path={path}", "--set", "seed=x"]) == 2
    written = json.loads(path.read_text())
    assert written["error"]["kind"] == "settings"
    assert "GRAFT_SEED='x'" in written["error"]["message"]


# --- files of variables ---


def test_a_file_is_read_as_a_shell_and_docker_read_it(tmp_path: Path) -> None:
    path = tmp_path / "graft.env"
    path.write_bytes(
        b"\xef\xbb\xbf# written on Windows\r\n"
        b"export GRAFT_NAME=flowers\r\n"
        b"\r\n"
        b"GRAFT_DATASET_URI=\"s3://data/my flowers\"  # quoted\r\n"
        b"GRAFT_AGAIN='$HOME #1'\r\n"
        b"GRAFT_SEED=\r\n"
        b"GRAFT_CACHE_DIR\r\n"
        b"AWS_REGION=eu-west-1"
    )  # fmt: skip
    assert settings.read_env_file(path) == {
        "GRAFT_NAME": "flowers",
        "GRAFT_DATASET_URI": "s3://data/my flowers",
        "GRAFT_AGAIN": "$HOME #1",
        "GRAFT_SEED": "",
        "AWS_REGION": "eu-west-1",
    }


def test_lines_that_are_no_variables_are_all_named(tmp_path: Path) -> None:
    path = tmp_path / "graft.env"
    path.write_text("GRAFT_SEED=1\nGRAFT_NAME='flowers\n: yes\n")
    with pytest.raises(SettingsError) as caught:
        settings.read_env_file(path)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["line 2", "line 3"]


@pytest.mark.parametrize("content", [None, "GRAFT_SEED=1\n".encode("utf-16")])
def test_a_file_that_cannot_be_read_is_the_callers_mistake(
    capsys: Output, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "graft.env"
    if content:
        path.write_bytes(content)
    assert main(["settings", "/d", "/o", "--env-file", str(path)]) == 2
    assert f"--env-file {path} cannot be read: " in message_of(capsys)


def test_what_other_libraries_read_is_set_in_the_process(
    capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://before")
    path = tmp_path / "graft.env"
    path.write_text("AWS_ENDPOINT_URL_S3=http://store:9000\n")
    values_of(capsys, "/d", "/o", "--env-file", str(path))
    assert os.environ["AWS_ENDPOINT_URL_S3"] == "http://store:9000"


# --- make run ---


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("DATA=/home/me/my photo's",), "file:///home/me/my%20photo%27s"),
        (("DATA=s3://data/flowers",), "s3://data/flowers"),
        ((), "file:///exported"),
    ],
)
def test_the_folder_that_make_run_is_given_wins_over_an_exported_variable(
    tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    """The recipe itself, with `graft settings` in place of `graft run`."""
    graft = tmp_path / "graft"
    graft.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -m job settings "$@"\n')
    graft.chmod(0o755)
    # Not the flags of the make that may have started the tests.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    ready = ["--old-file=.venv/ready", "--old-file=photographs"]
    done = subprocess.run(
        ["make", "--silent", *ready, "run", f"BIN={tmp_path}", f"CURDIR={tmp_path}", *words],
        cwd=ROOT,
        env=environment | {"GRAFT_DATASET_URI": "file:///exported"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["GRAFT_DATASET_URI"] == expected

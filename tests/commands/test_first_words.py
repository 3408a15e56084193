"""What somebody types first: help, the version, a file to start from, what a setting is."""

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from job import settings
from job.__main__ import main
from job.errors import SettingsError
from job.settings import VARIABLES
from tests.commands.test_environment import message_of
from tools.paths import ROOT

Output = pytest.CaptureFixture[str]
PLACES = {"GRAFT_DATASET_URI": "file:///data", "GRAFT_OUTPUT_URI": "file:///models"}


def test_graft_alone_prints_its_help_and_has_done_nothing(capsys: Output) -> None:
    assert main([]) == 2
    shown = capsys.readouterr()
    assert "usage: graft" in shown.out
    assert "Train a classifier and release it." in shown.out
    assert shown.err == ""


def test_the_version_is_that_of_the_installed_package(capsys: Output) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.startswith("graft ")


@pytest.mark.parametrize(
    ("given", "cures"),
    [
        ({}, ["Give what is missing"]),
        (PLACES | {"GRAFT_SEED": "x"}, ["Correct it."]),
        (PLACES | {"GRAFT_SEED": "x", "GRAFT_EPOCHS": "1"}, ["Correct them."]),
        ({"GRAFT_SEED": "x"}, ["Correct them.", "Give what is missing"]),
    ],
)
def test_a_missing_place_is_asked_for_and_a_wrong_setting_is_corrected(
    given: dict[str, str], cures: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        settings.load(given)
    known = ("Correct it.", "Correct them.", "Give what is missing")
    assert [cure for cure in known if cure in caught.value.cure] == cures


@pytest.mark.parametrize("verb", ["releases", "show", "verify"])
def test_the_folder_around_the_models_is_met_with_the_address_of_a_model(
    verb: str, tmp_path: Path, capsys: Output
) -> None:
    assert main([verb, str(tmp_path)]) == 2
    told = message_of(capsys)
    assert f"Give a model, such as {tmp_path.as_uri()}/model" in told


# --- settings --describe ---


@pytest.mark.parametrize("name", ["training.epochs", "GRAFT_TRAINING_EPOCHS", "Training.Epochs"])
def test_a_setting_is_described_without_any_settings(capsys: Output, name: str) -> None:
    assert main(["settings", "--describe", name]) == 0
    first, value, default, *text = capsys.readouterr().out.splitlines()
    assert first == "GRAFT_TRAINING_EPOCHS"
    assert value.split()[:2] == ["value", "integer"]
    assert default.split() == ["default", "20"]
    assert "passes over the training images" in " ".join(text)


def test_a_group_and_the_whole_are_described(capsys: Output) -> None:
    assert main(["settings", "--describe", "gate"]) == 0
    of_gate = [line for line in capsys.readouterr().out.splitlines() if line.startswith("GRAFT_")]
    assert of_gate == [name for name in VARIABLES if name.startswith("GRAFT_GATE_")]
    assert main(["settings", "--describe"]) == 0
    everything = capsys.readouterr().out
    assert [line for line in everything.splitlines() if line in VARIABLES] == list(VARIABLES)
    assert "none, it is required" in everything


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "traning.epochs",
            "traning.epochs is not a setting. The nearest is GRAFT_TRAINING_EPOCHS.",
        ),
        ("GRAFT_SEEDS", "GRAFT_SEEDS is not a setting. The nearest is GRAFT_SEED."),
        ("xyzzy", "xyzzy is not a setting."),
        ("how many?", "how many? is not a setting."),
    ],
)
def test_the_nearest_setting_is_named_only_if_it_is_near(
    capsys: Output, name: str, message: str
) -> None:
    assert main(["settings", "--describe", name]) == 2
    assert message_of(capsys).splitlines()[0] == message


# --- init ---


def uncommented(text: str, mark: str) -> str:
    """The lines of a file with each setting in force."""
    return "\n".join(line.replace(mark, "", 1) for line in text.splitlines())


def test_a_new_file_of_variables_holds_every_setting_with_its_default(
    capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    assert "graft run --env-file graft.env" in capsys.readouterr().out
    path = tmp_path / "graft.env"
    assert set(settings.read_env_file(path)) == set(PLACES)

    path.write_text(uncommented(path.read_text(), "#"))
    lines = [line for line in path.read_text().splitlines() if line.startswith("GRAFT_")]
    path.write_text("\n".join(lines))
    given = settings.read_env_file(path)
    assert set(given) == set(VARIABLES)
    assert settings.load(given | PLACES) == settings.load(PLACES)


def test_new_values_of_the_chart_fit_its_schema(tmp_path: Path, capsys: Output) -> None:
    path = tmp_path / "values.yaml"
    assert main(["init", str(path)]) == 0
    assert "--values" in capsys.readouterr().out
    schema = json.loads((ROOT / "docs" / "settings.schema.json").read_text())

    given = yaml.safe_load(path.read_text())["settings"]
    assert given == {"dataset": {"uri": ""}, "output": {"uri": ""}}
    tree = yaml.safe_load(uncommented(path.read_text(), "# "))["settings"]
    jsonschema.validate(tree, schema)
    assert _list_names(tree) == set(VARIABLES) - {
        "GRAFT_AGAIN", "GRAFT_CACHE_DIR", "GRAFT_CACHE_LIMIT", "GRAFT_DEVICES_GPUS",
        "GRAFT_TELEMETRY_WEBHOOK_SECRET",
    }  # fmt: skip


def _list_names(tree: dict[str, Any], prefix: str = "GRAFT") -> set[str]:
    names = set()
    for key, value in tree.items():
        name = f"{prefix}_{key.upper()}"
        names |= _list_names(value, name) if isinstance(value, dict) else {name}
    return names


@pytest.mark.parametrize("name", ["graft.env", "values.yaml"])
def test_an_existing_file_is_never_overwritten(capsys: Output, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("mine")
    assert main(["init", str(path)]) == 2
    assert message_of(capsys).startswith(f"{path} exists")
    assert path.read_text() == "mine"


def test_a_file_that_cannot_be_made_is_the_callers_mistake(capsys: Output, tmp_path: Path) -> None:
    assert main(["init", str(tmp_path / "no" / "graft.env")]) == 2
    assert "cannot be written: No such file or directory." in message_of(capsys)


# --- completion ---


def test_bash_completes_verbs_and_options(capsys: Output, tmp_path: Path) -> None:
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "graft.bash"
    script.write_text(capsys.readouterr().out)
    ask = "source {}; COMP_WORDS=({}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); "
    ask += '_shtab_graft; echo "${{COMPREPLY[@]}}"'
    for words, expected in (("graft pre", "predict"), ("graft run --env", "--env-file")):
        command = ["bash", "-c", ask.format(script, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.split() == [expected]


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_have_their_script(capsys: Output, shell: str) -> None:
    assert main(["completion", shell]) == 0
    assert "predict" in capsys.readouterr().out

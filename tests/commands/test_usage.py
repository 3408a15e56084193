"""Command lines that cannot be understood: what is said, and the result that a run owes."""

import json
import sys
from pathlib import Path

import pytest

from job.__main__ import main
from tests.commands.test_environment import message_of
from tests.inputs.test_process import finish, start

Output = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("rum", "graft run"),
        ("release", "graft releases"),
        ("predcit", "graft predict"),
        ("RUN", ""),
        ("help", "graft --help"),
        ("version", "graft --version"),
        ("fly", ""),
        ("", ""),
    ],
)
def test_the_nearest_verb_is_named_only_if_it_is_near(
    capsys: Output, word: str, nearest: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([word])
    said = message_of(capsys)
    assert f"{word!r} is not a verb." in said
    assert (f"The nearest is `{nearest}`." if nearest else "`graft --help` lists") in said
    assert bool(nearest) == ("nearest" in said)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("run", "--epochs", "5", "a"), "--set training.epochs=VALUE"),
        (("check", "a", "b", "--batch-size=8"), "--set training.batch_size=VALUE"),
        (("plan", "a", "b", "--gate.min-score", "0.9"), "--set gate.min_score=VALUE"),
        (("settings", "--seed", "1"), "--set seed=VALUE"),
        (("run", "--lr", "1"), "such as --set training.epochs=5"),
        (("submit", "flowers", "--epochs", "5"), "--set training.epochs=VALUE"),
    ],
)
def test_a_flag_that_is_a_setting_is_met_with_how_it_is_given(
    capsys: Output, words: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    said = message_of(capsys)
    assert said.startswith(f"usage: graft {words[0]} ")
    assert expected in said


def test_a_verb_without_settings_speaks_of_none(capsys: Output) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["verify", "/r", "--epochs", "5"])
    assert "--set" not in message_of(capsys)


@pytest.mark.parametrize("count", ["0", "-1", "1.5", "all"])
def test_a_number_of_classes_below_one_is_a_usage_error(capsys: Output, count: str) -> None:
    """TensorFlow was loaded, and then nothing was printed for an image."""
    with pytest.raises(SystemExit, match="2"):
        main(["predict", "/r", "a.png", f"--top={count}"])
    assert "expected a number from 1 on" in message_of(capsys)


def test_a_run_whose_command_line_is_wrong_has_a_result_everywhere(
    capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    monkeypatch.setenv("GRAFT_RESULT_PATH", str(path))
    with pytest.raises(SystemExit, match="2"):
        main(["run", "a", "b", "c"])
    written = json.loads(path.read_text())
    assert written["error"]["kind"] == "settings"
    said, hint = written["error"]["message"].splitlines()
    assert said == "graft run: unrecognized arguments: c"
    assert hint.startswith("A setting is given as --set NAME=VALUE")
    assert written.items() <= json.loads(capsys.readouterr().err.splitlines()[-1]).items()


def test_a_wait_whose_command_line_is_wrong_has_its_result_as_the_answer(capsys: Output) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["submit", "--wait"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["status"] == "failed"
    assert "the following arguments are required: name" in answer["error"]["message"]


def test_the_path_of_a_result_may_begin_with_the_home(
    capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GRAFT_RESULT_PATH", "~/result.json")
    assert main(["run"]) == 2
    assert "graft run DATA OUTPUT" in message_of_first(capsys)
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "failed"


def message_of_first(capsys: Output) -> str:
    cure: str = json.loads(capsys.readouterr().err.splitlines()[0])["fields"]["cure"]
    return cure


def test_a_folder_in_the_place_of_a_new_file_is_not_to_be_removed(
    capsys: Output, tmp_path: Path
) -> None:
    assert main(["init", str(tmp_path)]) == 2
    assert message_of(capsys).splitlines()[1] == "Name a file that is not there."


@pytest.mark.parametrize("words", ["--help", "--version", "run --help"])
@pytest.mark.parametrize(("redirection", "code"), [(">/dev/full", 2), ("| true", 0)])
def test_help_that_cannot_be_written_is_no_traceback(
    words: str, redirection: str, code: int
) -> None:
    """As every answer is. These alone ended in the interpreter, with exit code 120."""
    script = "import sys; from job.__main__ import entry; sys.exit(entry())"
    command = f'set -o pipefail; "$0" -c "{script}" {words} {redirection}'
    ended, _, messages = finish(start(args=["bash", "-c", command, sys.executable]))
    assert ended == code
    assert messages == ["The answer cannot be written to stdout: No space left on device."] * (
        code == 2
    )

"""What strangers have put into names steers no terminal, page, table or metric."""

import csv
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from job import console, telemetry
from job.__main__ import main
from job.commands import releases
from job.publish import Prediction
from job.settings import TelemetrySettings
from job.telemetry import live
from job.telemetry.logs import TerminalHandler

# Clears the screen, sets the clipboard, turns the direction, begins a line, and is a C1 control.
NAMES = (
    "a\x1b[2J",
    "b\x1b]52;c;ZWNobw==\x07",
    "c\u202egnp.exe",
    "d\nfaked line",
    "e\x9b31m",
    "f\r",
)
UNSEEN = ("\x1b", "\x07", "\u202e", "\x9b", "\r", "\nfaked")


def test_nothing_that_steers_is_left_and_everything_else_is() -> None:
    for name in NAMES:
        assert not any(part in console.escape_name(name) for part in UNSEEN)
    assert console.escape("ölfleck 猫 👩‍🚀\tx\n") == "ölfleck 猫 👩‍🚀\tx\n"
    assert console.escape("\x1b[31m") == r"\u001b[31m"


def test_escaped_json_is_the_same_json() -> None:
    text = json.dumps({"name": "\x7f\u202e\x9b\u2028"}, ensure_ascii=False)
    assert console.escape(text) != text
    assert json.loads(console.escape(text)) == json.loads(text)


def test_every_answer_passes_the_watched_stdout(tmp_path: Path) -> None:
    code = f"from job import console; console.watch_stdout(); [print(n) for n in {NAMES!r}]"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env={**os.environ}
    )
    answer = done.stdout.decode()
    assert not any(part in answer for part in UNSEEN if part != "\nfaked")


@pytest.fixture
def hostile_predictions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Prediction]:
    """What a release with such classes answers about images with such names."""
    predictions = [Prediction(name, ((name, 0.5), ("=1+1", 0.25))) for name in NAMES]
    predictions += [Prediction(f"{start}cmd|' /C calc'!A0", ((start, 1.0),)) for start in "=+-@\t"]
    monkeypatch.setattr("job.publish.predict", lambda *_: iter(predictions))
    monkeypatch.setattr("job.publish.find_images", lambda *_: iter(()))
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path))
    return predictions


def test_a_prediction_is_one_line_that_steers_nothing(
    hostile_predictions: list[Prediction], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "file:///nowhere", "x.png"]) == 0
    answer = capsys.readouterr().out
    assert not any(part in answer for part in UNSEEN)
    assert len(answer.splitlines()) == len(hostile_predictions)


def test_no_cell_of_a_table_of_predictions_is_a_formula(
    hostile_predictions: list[Prediction], tmp_path: Path
) -> None:
    path = tmp_path / "predictions.csv"
    assert main(["predict", "file:///nowhere", "x.png", "--csv", str(path)]) == 0
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    assert len(rows) == len(hostile_predictions)
    cells = [cell for row in rows for cell in row]
    assert not any(cell.startswith(releases.FORMULA_STARTS) for cell in cells)
    # What begins in another way is as it was.
    assert [row[0] for row in rows[:3]] == list(NAMES[:3])
    assert rows[0][2] == "0.5"


def test_a_log_on_a_terminal_steers_nothing(tmp_path: Path) -> None:
    with (tmp_path / "terminal").open("w", encoding="utf-8") as stream:
        handler = TerminalHandler(stream)
        for name in NAMES:
            handler.emit(logging.LogRecord("job", 20, "", 0, "image %s", (name,), None))
    written = (tmp_path / "terminal").read_bytes().decode()
    assert not any(part in written for part in UNSEEN if part != "\nfaked")


def test_names_in_labels_of_metrics_stay_inside_their_quotes() -> None:
    hostile = 'x"} 1\ngraft_up{y="<script>alert(1)</script>'
    registry = CollectorRegistry()
    with telemetry.serve(
        TelemetrySettings(port=0), hostile, (hostile,), registry=registry
    ) as shown:
        with shown.phase(hostile):
            pass
        text = generate_latest(registry).decode()
    labels = [
        value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        for value in sample.labels.values()
    ]
    assert hostile in labels
    assert not any(line.startswith("graft_up{y=") for line in text.splitlines())


def test_the_live_page_shows_names_as_text_only() -> None:
    page = live.PAGE.decode()
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert way not in page

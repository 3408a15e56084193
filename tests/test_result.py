"""How a run ended, told in one small JSON object."""

import io
import json
import math
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from job.errors import (
    DatasetError,
    Interrupted,
    JobError,
    SettingsError,
    StoreUnavailable,
    WorkerLost,
    WorkerStopped,
)
from job.result import Failure, Result, failed, write

# Any text, lone surrogates and control characters included, and much more of it than fits.
TEXT = st.builds(
    lambda text, times: text * times,
    st.text(st.characters(), max_size=40),
    st.sampled_from([1, 3, 500]),
)
NUMBERS = st.dictionaries(TEXT, st.floats(), max_size=60)
ERRORS = st.builds(JobError, TEXT, TEXT, st.lists(TEXT, max_size=80).map(tuple))


def parsed(result: Result) -> dict[str, Any]:
    return json.loads(result.to_json(), parse_constant=pytest.fail)


@settings(max_examples=150, deadline=None)
@given(
    st.none() | TEXT, st.none() | TEXT, NUMBERS, NUMBERS, st.none() | TEXT, st.none() | ERRORS, TEXT
)
def test_the_object_is_small_and_valid_whatever_happened(
    run_id: str | None,
    release: str | None,
    scores: dict[str, float],
    seconds: dict[str, float],
    plan: str | None,
    error: JobError | None,
    reason: str,
) -> None:
    failure = Failure.of(error) if error else None
    result = Result(
        status="failed",
        run_id=run_id,
        release=release,
        scores=scores,
        input_wait=seconds,
        forecast_ratio=scores,
        plan=plan,
        error=failure,
        seconds=seconds,
        reason=reason,
    )
    text = result.to_json()
    assert len(text.encode()) < 4_096
    assert "\n" not in text
    written = ["status", "run_id", "release", "promoted", "scores", "plan", "error", "seconds"]
    written += ["reason"] if reason else []
    written += ["input_wait"] if seconds else []
    written += ["forecast_ratio"] if scores else []
    assert list(json.loads(text, parse_constant=pytest.fail)) == written


def test_a_release_says_what_came_out() -> None:
    result = Result(
        status="released",
        run_id="ab12",
        release="s3://models/flowers/releases/ab12",
        promoted=True,
        scores={"accuracy": 0.91},
        plan="part",
        seconds={"training": 3.5},
    )
    assert parsed(result) == {
        "status": "released",
        "run_id": "ab12",
        "release": "s3://models/flowers/releases/ab12",
        "promoted": True,
        "scores": {"accuracy": 0.91},
        "plan": "part",
        "error": None,
        "seconds": {"training": 3.5},
    }


def test_numbers_that_json_does_not_know_become_null() -> None:
    assert parsed(Result(status="released", scores={"accuracy": math.nan, "macro_f1": -math.inf}))[
        "scores"
    ] == {
        "accuracy": None,
        "macro_f1": None,
    }


def test_problems_are_shortened_to_the_first_ones_and_counted() -> None:
    problems = tuple(f"image-{number:04}.jpg is broken" for number in range(1_000))
    message = parsed(
        failed(DatasetError("Received 1,000 broken images.", "Remove them.", problems))
    )["error"]["message"]
    first, *listed, last = message.split("\n")
    assert first == "Received 1,000 broken images."
    assert listed == [f"  - {problem}" for problem in problems[: len(listed)]]
    assert len(listed) > 50
    assert last == f"and {1_000 - len(listed)} more"


def test_a_few_problems_are_all_there() -> None:
    error = parsed(
        failed(SettingsError("Two settings cannot work.", "Mend them.", ("A is 1", "B is 2")))
    )["error"]
    assert error == {
        "kind": "settings",
        "message": "Two settings cannot work.\n  - A is 1\n  - B is 2",
        "cure": "Mend them.",
    }


@pytest.mark.parametrize("letter", ["a", "é", "字", "🌷", "\x00", '"'])
def test_a_long_message_is_cut_between_characters(letter: str) -> None:
    message = parsed(failed(JobError(letter * 10_000)))["error"]["message"]
    assert message == letter * (len(message) - 1) + "…"
    assert len(message) > 500


def test_a_file_name_that_is_no_utf8_does_not_break_the_object() -> None:
    assert (
        parsed(failed(DatasetError("Received '\udcff.jpg'.")))["error"]["message"]
        == "Received '?.jpg'."
    )


def test_an_address_that_does_not_fit_is_left_out_rather_than_cut() -> None:
    assert parsed(Result(status="released", release="s3://b/" + "k" * 1_024))["release"].endswith(
        "k"
    )
    assert parsed(Result(status="released", release="s3://b/" + "k" * 2_000))["release"] is None


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (Result(status="released"), 0),
        (Result(status="unchanged"), 0),
        (Result(status="below_gate"), 6),
        (failed(SettingsError("x")), 2),
        (failed(DatasetError("x")), 3),
        (failed(StoreUnavailable("x")), 75),
        (failed(Interrupted("x")), 75),
        (failed(KeyboardInterrupt()), 75),
        (failed(WorkerLost("x")), 76),
        (failed(WorkerStopped.by_another()), 76),
        (failed(ValueError("x")), 1),
    ],
)
def test_the_exit_code_says_whose_fault_it_was(result: Result, code: int) -> None:
    assert result.exit_code == code


def test_only_a_run_that_was_told_to_stop_is_interrupted() -> None:
    assert failed(Interrupted("SIGTERM")).status == "interrupted"
    assert failed(KeyboardInterrupt()).status == "interrupted"
    assert failed(StoreUnavailable("away")).status == "failed"


def test_what_was_known_before_the_failure_is_kept() -> None:
    error = DatasetError("x")
    error.run_id = "ab"
    result = parsed(replace(failed(error), seconds={"dataset": 2}))
    assert (result["run_id"], result["seconds"]) == ("ab", {"dataset": 2.0})


def test_an_exception_that_is_not_ours_is_a_fault_of_graft() -> None:
    error = parsed(failed(ZeroDivisionError("division by zero")))["error"]
    assert error["kind"] == "internal"
    assert error["message"] == "ZeroDivisionError: division by zero"
    assert "report" in error["cure"]


def test_everyone_is_told_the_same(tmp_path: Path) -> None:
    termination, path, log = (
        tmp_path / "termination-log",
        tmp_path / "deep" / "er" / "result.json",
        io.StringIO(""),
    )
    termination.write_text("an older and much longer message " * 50)
    result = Result(status="unchanged", run_id="ab12")
    write(result, path, log, termination)
    assert (
        termination.read_text()
        == log.getvalue().rstrip("\n")
        == path.read_text().rstrip("\n")
        == result.to_json()
    )
    assert [entry.name for entry in path.parent.iterdir()] == ["result.json"]


def test_the_last_line_of_the_log_has_a_time_and_a_severity_and_is_as_small(tmp_path: Path) -> None:
    log = io.StringIO()
    error = DatasetError("Received one class.", "x" * 5_000, tuple("y" * 300 for _ in range(50)))
    result = failed(error)
    write(result, None, log, tmp_path / "termination-log", logged=True)
    line = json.loads(log.getvalue())
    assert len(log.getvalue().encode()) <= 4_096
    assert datetime.fromisoformat(line.pop("time")).tzinfo is UTC
    assert line.pop("severity") == "INFO"
    assert line == result.as_dict()


def test_outside_a_cluster_no_termination_message_is_made(tmp_path: Path) -> None:
    write(Result(status="unchanged"), None, None, tmp_path / "termination-log")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_write_is_said_and_does_not_fail_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    closed = io.StringIO()
    closed.close()
    inside = tmp_path / "file" / "result.json"
    write(Result(status="unchanged"), inside, closed, tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        "the termination message could not be written: Is a directory",
        f"the result file {inside} could not be written: Not a directory",
        "the result line could not be written: I/O operation on closed file",
    ]


def test_a_pipe_that_is_named_for_the_result_gets_it_and_stays(tmp_path: Path) -> None:
    """It was replaced by a file, as /dev/stdout was where the process is root."""
    path = tmp_path / "result"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    result = Result(status="unchanged", run_id="ab12")
    write(result, path, None, tmp_path / "termination-log")
    assert os.read(reader, 4_096).decode() == f"{result.to_json()}\n"
    os.close(reader)
    assert path.is_fifo()


def test_a_pipe_that_nobody_reads_does_not_hold_the_result(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "result"
    os.mkfifo(path)
    write(Result(status="unchanged"), path, None, tmp_path / "termination-log")
    assert "could not be written" in caplog.text
    assert path.is_fifo()


def test_a_person_reads_a_summary_without_json() -> None:
    error = DatasetError("Received one class.", "Add images.", ("only 'cat'",))
    assert replace(failed(error), seconds={"dataset": 1.25}).summary().split("\n") == [
        "failed in 1.2 s",
        "Received one class.",
        "  - only 'cat'",
        "Add images.",
    ]
    scores = {"accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.95, "macro_f1": 0.7}
    released = Result(
        status="released",
        release="file:///r",
        promoted=True,
        scores=scores,
        seconds={"a": 1, "b": 2},
    )
    assert released.summary().split("\n") == [
        "released in 3.0 s",
        "  accuracy            0.9000  (95 %: 0.8000 to 0.9500)",
        "  macro_f1            0.7000",
        "  release             file:///r (promoted)",
        "  report              file:///r/report.html",
    ]
    kept = replace(
        released, promoted=False, reason="the champion was chosen by hand: releases/a stays"
    )
    assert kept.summary().split("\n")[-3:] == [
        "  release             file:///r (not promoted)",
        "  report              file:///r/report.html",
        "  reason              the champion was chosen by hand: releases/a stays",
    ]


@pytest.mark.parametrize(("classes", "is_shown"), [(None, False), (9, False), (10, True)])
def test_the_summary_has_the_top_k_accuracy_where_the_report_has_it(
    classes: int | None, is_shown: bool
) -> None:
    outcome = Result(status="released", scores={"top_k": 1.0, "log_loss": 0.1}, classes=classes)
    assert ("top_k" in outcome.summary()) is is_shown
    assert parsed(outcome)["scores"]["top_k"] == 1.0
    assert parsed(outcome).get("classes") == classes


def test_a_reason_is_written_where_there_is_one_and_takes_300_bytes_at_most() -> None:
    assert "reason" not in parsed(Result(status="unchanged"))
    assert (
        parsed(Result(status="unchanged", reason="releases/a stays"))["reason"]
        == "releases/a stays"
    )
    assert len(parsed(Result(status="unchanged", reason="字" * 500))["reason"].encode()) == 300


def test_the_share_of_waiting_for_input_is_written_where_there_is_one() -> None:
    quiet = Result(status="released")
    assert "input_wait" not in parsed(quiet)
    assert parsed(replace(quiet, input_wait={"training": 0.25}))["input_wait"] == {"training": 0.25}

"""What the phases tell, what the log says of it, and what a terminal shows."""

import io
import json
import logging
import math
import re
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from job.settings import TelemetrySettings
from job.telemetry import RunTelemetry, configure_logs, name_run, serve, silent, time_input
from job.telemetry.bar import Bar
from job.telemetry.events import (
    BatchUsed,
    CheckpointSaved,
    EpochEnded,
    FactsFound,
    HeadSolved,
    HistoryRestored,
    LineLogged,
    PhaseBegan,
    PhaseEnded,
    Progressed,
    RunEnded,
    StageBegan,
    StepTaken,
    WorkForecast,
)
from job.telemetry.live import live_json
from job.telemetry.metrics import register
from job.telemetry.run_state import EPOCHS_KEPT, LINES_KEPT, STEPS_TIMED, RunState

PHASES = ("survey", "dataset", "training")


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(clock: Clock) -> RunState:
    return RunState("flowers", PHASES, clock)


@pytest.fixture
def logs() -> Iterator[None]:
    """The loggers as they were before, afterwards."""
    names = ("", "job", "__main__", "absl", "tensorflow")
    levels = {name: logging.getLogger(name).level for name in names}
    handlers = list(logging.root.handlers)
    yield
    logging.captureWarnings(False)
    logging.root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def visible_lines(written: str) -> list[str]:
    """What a terminal shows after `written`."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[0-9?;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", written):
        if part == "\r":
            column = 0
        elif part == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part == "\x1b[1A":
            row -= 1
        elif not part.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + part
            column += len(part)
    return [line.rstrip() for line in lines]


def records(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in stream.getvalue().splitlines()]


def test_a_phase_runs_and_then_is_done(state: RunState, clock: Clock) -> None:
    telemetry = RunTelemetry(state)
    with telemetry.phase("survey"):
        clock.now += 3
        assert state.snapshot().running == "survey"
        assert telemetry.seconds == {"survey": 3.0}
    assert [(phase.name, phase.state) for phase in state.snapshot().phases] == [
        ("survey", "done"), ("dataset", "to come"), ("training", "to come"),
    ]  # fmt: skip


def test_a_phase_entered_again_adds_up(state: RunState, clock: Clock) -> None:
    telemetry = RunTelemetry(state)
    for seconds in (2, 5):
        with telemetry.phase("training"):
            clock.now += seconds
    assert telemetry.seconds == {"training": 7.0}


def test_the_share_of_waiting_for_input_is_that_of_each_phase(state: RunState) -> None:
    telemetry = RunTelemetry(state)
    with telemetry.phase("survey"):
        pass
    with telemetry.phase("training"):
        telemetry.emit(StepTaken(0.2, waited=0.1))
        telemetry.emit(BatchUsed(0.4, 0.3))
    assert state.snapshot().input_wait == {"training": pytest.approx(0.4)}
    registry = CollectorRegistry()
    register(state, registry)
    labels = {"phase": "training"}
    assert registry.get_sample_value("graft_input_wait_ratio", labels) == pytest.approx(0.4)
    shown = json.loads(live_json(state.snapshot()))["phases"]
    assert [phase["input_wait"] for phase in shown] == [None, None, pytest.approx(0.4)]


def test_the_last_forecast_before_a_phase_is_compared_with_what_it_took(
    state: RunState, clock: Clock
) -> None:
    telemetry = RunTelemetry(state)
    phases = ("measurement", "training", "evaluation")
    telemetry.emit(WorkForecast({"measurement": 4.0, "training": 80.0, "evaluation": 9.0}))
    for phase in phases:
        with telemetry.phase(phase):
            # Too late for the phase itself, and it says that nothing is left to train.
            telemetry.emit(WorkForecast({phase: 1000.0, "training": 0.0, "evaluation": 6.0}))
            clock.now += 2.0
    expected = {"total": 2.5, "measurement": 2.0, "evaluation": 3.0}
    assert state.snapshot().forecast_ratio == expected
    telemetry.emit(HistoryRestored(()))
    assert state.snapshot().forecast_ratio == {}


def test_a_slow_source_of_batches_is_what_is_waited_for(state: RunState) -> None:
    telemetry = RunTelemetry(state)

    def load() -> Iterator[int]:
        for number in range(3):
            time.sleep(0.02)
            yield number

    with telemetry.phase("training"):
        assert list(time_input(load(), telemetry)) == [0, 1, 2]
    (phase,) = [phase for phase in state.snapshot().phases if phase.name == "training"]
    assert phase.waited_seconds >= 3 * 0.02
    assert phase.used_seconds > 0


def test_a_phase_that_nobody_announced_joins_the_list(state: RunState) -> None:
    with RunTelemetry(state).phase("tidying"):
        pass
    assert state.snapshot().phases[-1].name == "tidying"


def test_phases_do_not_nest(state: RunState) -> None:
    telemetry = RunTelemetry(state)
    with telemetry.phase("survey"):
        with (
            pytest.raises(RuntimeError, match="'dataset' inside 'survey'"),
            telemetry.phase("dataset"),
        ):
            pass
        assert state.snapshot().running == "survey"


def test_an_error_passes_through_and_its_phase_is_marked(state: RunState) -> None:
    telemetry = RunTelemetry(state)
    with pytest.raises(ZeroDivisionError), telemetry.phase("dataset"):
        raise ZeroDivisionError
    assert state.snapshot().phases[1].state == "stopped"
    assert telemetry.seconds == {"dataset": 0.0}


def test_the_time_left_follows_the_pace_so_far(state: RunState, clock: Clock) -> None:
    state.apply(PhaseBegan("dataset"))
    state.apply(
        Progressed(100, 500, "images")
    )  # a resumed download: the first 100 were there already
    assert state.snapshot().seconds_left is None
    clock.now += 10
    state.apply(Progressed(200, 500, "images"))
    assert state.snapshot().seconds_left == pytest.approx(30)
    clock.now += 5
    assert state.snapshot().seconds_left == pytest.approx(25)
    clock.now += 60
    assert state.snapshot().seconds_left == 0


def test_threads_that_report_out_of_order_do_not_turn_the_progress_back(state: RunState) -> None:
    state.apply(PhaseBegan("dataset"))
    for done in (2, 1, 4, 3, 10, 9):
        state.apply(Progressed(done, 10, "images"))
    view = state.snapshot()
    assert view.progress is not None
    assert (view.progress.done, view.progress.ratio, view.phases[1].images) == (10, 1.0, 10)


def test_the_next_epoch_counts_its_images_anew(state: RunState) -> None:
    state.apply(PhaseBegan("training"))
    for done in (5, 10, 5, 10):
        state.apply(Progressed(done, 10, "images"))
    state.apply(Progressed(3, 8, "steps"))
    assert state.snapshot().phases[2].images == 20


def test_an_unknown_total_is_no_division_by_zero(state: RunState) -> None:
    state.apply(PhaseBegan("dataset"))
    state.apply(Progressed(3, 0, "images"))
    progress = state.snapshot().progress
    assert progress is not None
    assert progress.ratio == 0.0


def test_the_time_left_is_that_of_the_run(state: RunState, clock: Clock) -> None:
    state.apply(PhaseBegan("dataset"))
    assert state.snapshot().run_seconds_left is None
    state.apply(WorkForecast({"dataset": 40.0, "training": 100.0}))
    clock.now += 10
    assert state.snapshot().run_seconds_left == pytest.approx(30 + 100)
    state.apply(PhaseEnded("dataset"))
    assert state.snapshot().run_seconds_left == pytest.approx(100)
    state.apply(PhaseBegan("training"))
    clock.now += 5
    assert state.snapshot().run_seconds_left == pytest.approx(95)
    clock.now += 200  # slower than was expected
    assert state.snapshot().run_seconds_left == 0
    state.apply(RunEnded({"status": "released"}))
    assert state.snapshot().run_seconds_left is None


def test_the_pace_of_a_stage_is_better_than_a_forecast(state: RunState, clock: Clock) -> None:
    state.apply(WorkForecast({"training": 1_000.0, "export": 20.0}))
    state.apply(PhaseBegan("training"))
    state.apply(Progressed(0, 10, "images"))
    clock.now += 10
    state.apply(Progressed(10, 10, "images"))  # features, after which the stage follows
    assert state.snapshot().run_seconds_left == pytest.approx(990)
    state.apply(StageBegan("part", 4, 1, "val_accuracy"))
    assert state.snapshot().run_seconds_left == pytest.approx(990)
    state.apply(Progressed(10, 40, "batches"))  # resumed: an epoch was complete
    clock.now += 20
    state.apply(Progressed(20, 40, "batches"))
    assert state.snapshot().run_seconds_left == pytest.approx(40)


def test_one_candidate_of_a_race_is_not_the_rest_of_it(state: RunState, clock: Clock) -> None:
    state.apply(WorkForecast({"training": 1_000.0}, races=True))
    state.apply(PhaseBegan("training"))
    state.apply(StageBegan("all", 4, 0, "val_accuracy"))
    state.apply(Progressed(1, 40, "batches"))
    clock.now += 100
    state.apply(Progressed(39, 40, "batches"))
    assert state.snapshot().run_seconds_left == pytest.approx(900)
    state.apply(WorkForecast({"training": 0.0}))  # there was no evidence for a race
    assert state.snapshot().run_seconds_left == pytest.approx(100 / 38)


def test_the_speed_is_that_of_the_last_steps(state: RunState, clock: Clock) -> None:
    state.apply(PhaseBegan("dataset"))
    assert state.snapshot().images_per_second is None
    state.apply(Progressed(10, 100, "images"))
    clock.now += 4
    state.apply(Progressed(50, 100, "images"))
    assert state.snapshot().images_per_second == pytest.approx(10)
    state.apply(PhaseEnded("dataset"))
    state.apply(PhaseBegan("training"))
    state.apply(StepTaken(60.0, 0.5, images=32))  # it built the graph
    for _ in range(STEPS_TIMED):
        state.apply(StepTaken(0.5, 0.5, images=32))
    assert state.snapshot().images_per_second == pytest.approx(64)


def test_a_resumed_run_knows_its_earlier_epochs(state: RunState, clock: Clock) -> None:
    early = tuple(EpochEnded("part", n, 5, {"val_accuracy": n / 10}) for n in (1, 2, 3))
    solved = HeadSolved("probe", 0.1, {"val_accuracy": 0.25})
    for _ in range(2):  # after a training with other workers, two processes tell it
        state.apply(HistoryRestored(early, solved))
        state.apply(StageBegan("part", 5, 3, "val_accuracy"))
    view = state.snapshot()
    assert (view.history, view.solved, view.scores) == (early, solved, {"val_accuracy": 0.3})
    assert (view.epoch, view.best) == (4, early[-1])
    state.apply(EpochEnded("part", 4, 5, {"val_accuracy": 0.2}))
    view = state.snapshot()
    assert [epoch.epoch for epoch in view.history] == [1, 2, 3, 4]
    assert (view.epoch, view.best) == (5, early[-1])


def test_a_solved_head_is_not_an_epoch(state: RunState, clock: Clock) -> None:
    state.apply(PhaseBegan("training"))
    state.apply(EpochEnded("tune", 1, 4, {"val_accuracy": 0.5}))
    state.apply(HeadSolved("probe", 0.01, {"val_accuracy": 0.75}))
    view = state.snapshot()
    assert len(view.history) == 1
    assert view.solved == HeadSolved("probe", 0.01, {"val_accuracy": 0.75})
    assert view.scores == {"val_accuracy": 0.75}
    state.apply(EpochEnded("part", 1, 3, {"val_accuracy": 0.875}))
    assert state.snapshot().scores == {"val_accuracy": 0.875}


def test_a_solved_head_is_one_line_of_the_log(state: RunState, logs: None) -> None:
    stream = io.StringIO()
    configure_logs(stream, terminal=False)
    RunTelemetry(state).emit(HeadSolved("probe", 10**-1.5, {"val_loss": 0.25}))
    (record,) = records(stream)
    assert record["message"] == "probe: solved, penalty 0.03162  val_loss 0.25"
    assert record["fields"]["penalty"] == 10**-1.5
    assert "epoch" not in record["fields"]


def test_the_board_does_not_grow_with_the_run(state: RunState) -> None:
    for number in range(EPOCHS_KEPT + 5):
        state.apply(EpochEnded("all", number + 1, 2_000, {}))
    for number in range(LINES_KEPT + 5):
        state.apply(LineLogged(0.0, "info", str(number)))
    view = state.snapshot()
    assert (len(view.history), view.history[-1].epoch) == (EPOCHS_KEPT, EPOCHS_KEPT + 5)
    assert (len(view.lines), view.lines[0].message) == (LINES_KEPT, "5")


def test_many_threads_may_tell_at_once(state: RunState) -> None:
    telemetry = RunTelemetry(state)

    def take_500_steps() -> None:
        for _ in range(500):
            telemetry.emit(StepTaken(0.02, 1.0))

    work = [threading.Thread(target=take_500_steps) for _ in range(4)]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert sum(state.snapshot().steps.counts) == 2_000
    assert state.snapshot().steps.seconds == pytest.approx(40)


def test_telling_costs_a_step_next_to_nothing(state: RunState) -> None:
    telemetry = RunTelemetry(state)
    state.apply(PhaseBegan("training"))
    began = time.perf_counter()
    for step in range(2_000):
        telemetry.emit(StepTaken(0.1, 0.5))
        telemetry.emit(Progressed(step, 2_000, "steps"))
    assert (time.perf_counter() - began) / 2_000 < 0.001


def test_a_container_logs_strict_json_lines(state: RunState, logs: None) -> None:
    stream = io.StringIO()
    configure_logs(stream, terminal=False)
    logging.getLogger("job.x").warning(
        "odd \udcff name", extra={"fields": {"loss": math.nan, "of": (1, "a"), "path": object}}
    )
    telemetry = RunTelemetry(state)
    with telemetry.phase("survey"):
        telemetry.emit(EpochEnded("probe", 1, 3, {"val_accuracy": 0.5}))
    odd, begins, epoch, done = records(stream)
    assert odd["ts"].endswith("+00:00")
    assert (odd["level"], odd["logger"], odd["message"]) == ("warning", "job.x", "odd ? name")
    assert odd["fields"] == {"loss": None, "of": [1, "a"], "path": "<class 'object'>"}
    assert begins["fields"] == {"phase": "survey", "event": "begins"}
    assert epoch["fields"] == {
        "stage": "probe",
        "epoch": 1,
        "epochs": 3,
        "scores": {"val_accuracy": 0.5},
    }
    assert done["fields"] | {"seconds": 0} == {"phase": "survey", "event": "done", "seconds": 0}


def test_a_line_has_what_cloud_logging_reads_and_names_its_run_once_that_is_known(
    logs: None,
) -> None:
    stream = io.StringIO()
    configure_logs(stream, terminal=False)
    log = logging.getLogger("job.x")
    log.info("before")
    name_run(model="flowers")
    log.warning("named")
    name_run(model="flowers", run_id="0123")
    log.error("both")
    configure_logs(stream, terminal=False)
    log.info("the next one")
    before, named, both, following = records(stream)
    assert before["time"] == before["ts"]
    assert [line["severity"] for line in (before, named, both)] == ["INFO", "WARNING", "ERROR"]
    assert "model" not in before
    assert (named["model"], "run_id" in named) == ("flowers", False)
    assert (both["model"], both["run_id"]) == ("flowers", "0123")
    assert "model" not in following


def test_an_exception_stays_on_its_line(logs: None) -> None:
    stream = io.StringIO()
    configure_logs(stream, terminal=False)
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logging.getLogger("job").exception("it failed")
    (record,) = records(stream)
    assert record["level"] == "error"
    assert record["exception"].endswith("ValueError: first\nsecond")


def test_others_are_heard_from_warning_on_and_we_from_info_on(logs: None) -> None:
    stream = io.StringIO()
    configure_logs(stream, terminal=False)
    for name in ("botocore.credentials", "absl", "tensorflow", "job.storage", "__main__"):
        logging.getLogger(name).info("info of %s", name)
        logging.getLogger(name).warning("warning of %s", name)
    assert [record["message"] for record in records(stream)] == [
        "warning of botocore.credentials",
        "warning of absl",
        "warning of tensorflow",
        "info of job.storage",
        "warning of job.storage",
        "info of __main__",
        "warning of __main__",
    ]


def test_a_warning_of_python_becomes_a_record(logs: None) -> None:
    stream = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure_logs(stream, terminal=False)
        warnings.warn("this is old", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    assert "this is old" in records(stream)[0]["message"]


def test_configured_twice_each_line_comes_once(logs: None) -> None:
    stream = io.StringIO()
    configure_logs(stream, terminal=False)
    configure_logs(stream, terminal=False)
    logging.getLogger("job").info("once")
    assert len(records(stream)) == 1


def test_progress_is_logged_now_and_then(
    state: RunState, clock: Clock, logs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    configure_logs(stream, terminal=False)
    telemetry = RunTelemetry(state)
    with telemetry.phase("dataset"):
        telemetry.emit(Progressed(0, 4_000, "images"))
        monkeypatch.setattr("job.telemetry.telemetry.PROGRESS_LINE_SECONDS", -1.0)
        for seconds, done in ((60, 1_000), (150, 3_500)):
            clock.now = 100 + seconds
            telemetry.emit(Progressed(done, 4_000, "images"))
    assert [record["message"] for record in records(stream)[1:-1]] == [
        "dataset: 1,000 of 4,000 images, about 3 min left",
        "dataset: 3,500 of 4,000 images, less than a minute left",
    ]


def test_a_terminal_shows_the_progress_and_whole_lines_above_it(
    state: RunState, clock: Clock, logs: None
) -> None:
    stream = io.StringIO()
    configure_logs(stream, terminal=True)
    bar = Bar(stream, state)

    def show() -> list[str]:
        bar.refresh()
        return visible_lines(stream.getvalue())

    with RunTelemetry(state) as telemetry:
        with telemetry.phase("dataset"):
            telemetry.emit(Progressed(1, 4, "images"))
            clock.now += 15
            telemetry.emit(Progressed(3, 4, "images"))
            logging.getLogger("job.audit").warning("one is broken")
            assert show()[-1].endswith("━ dataset, 3 of 4 images, 0:08 left of this phase")
        telemetry.emit(WorkForecast({"training": 100.0}))
        with telemetry.phase("training"):
            telemetry.emit(StageBegan("tune", 30, 6, "val_accuracy"))
            for epoch, score in ((7, 0.9627), (8, 0.5)):
                telemetry.emit(EpochEnded("tune", epoch, 30, {"val_accuracy": score}))
            assert show()[-1] == "tune 9/30, val_accuracy 0.963 (best), 1:40 left"
            telemetry.emit(Progressed(9, 10, "batches", "refinement"))
            assert "tune, refinement, val_accuracy 0.963 (best)" in show()[-1]
        with telemetry.phase("release"):
            telemetry.emit(Progressed(1, 2, "formats", "keras"))
            assert show()[-1].endswith("━ release keras, 1 of 2 formats")
    bar.close()
    lines = [line[10:] for line in visible_lines(stream.getvalue())]
    assert lines[0] == "warning: one is broken"
    assert lines[1].startswith("dataset done after 0.")
    assert lines[2] == "tune: 8 of 30 epochs, val_accuracy 0.9627 in epoch 7 is the best"
    assert lines[3].startswith("training done after 0.")
    assert lines[4].startswith("release done after 0.")
    assert not any(lines[5:])


def test_a_person_sees_the_traceback_and_no_json(logs: None) -> None:
    terminal = io.StringIO()
    configure_logs(terminal, terminal=True)
    try:
        raise ValueError("boom")
    except ValueError:
        logging.getLogger("job").exception("it failed")
    first, second, *_ = visible_lines(terminal.getvalue())
    assert first.endswith("  error: it failed")
    assert second.startswith("Traceback")


def test_a_terminal_that_went_away_does_not_fail_the_run(
    logs: None, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = io.StringIO()
    configure_logs(terminal, terminal=True)
    terminal.close()
    logging.getLogger("job").info("nobody hears this")
    assert "ValueError" in capsys.readouterr().err


def test_silent_telemetry_serves_and_shows_nothing() -> None:
    handlers = list(logging.getLogger("job").handlers)
    with silent() as telemetry, telemetry.phase("dataset"):
        telemetry.emit(Progressed(1, 2, "images"))
        telemetry.emit(FactsFound({"classes": 3}))
        telemetry.emit(CheckpointSaved())
    assert telemetry.server is None
    assert logging.getLogger("job").handlers == handlers


def test_port_0_serves_nothing() -> None:
    with serve(TelemetrySettings(port=0), "flowers") as telemetry:
        assert telemetry.server is None


def test_a_busy_port_costs_a_warning_and_no_run(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with serve(TelemetrySettings(port=port, host="127.0.0.1"), "flowers", PHASES) as telemetry:
            with telemetry.phase("survey"):
                pass
            assert telemetry.server is None
    assert f"port {port} serves no metrics" in caplog.text
    assert "GRAFT_TELEMETRY_PORT chooses one" in caplog.text


def test_telemetry_does_not_import_tensorflow() -> None:
    code = (
        "import sys, job.telemetry, job.result; "
        "print(sorted({'tensorflow', 'keras', 'boto3'} & set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )

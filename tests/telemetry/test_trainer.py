"""Progress for Kubeflow Trainer, received over TLS as its controller would."""

import json
import ssl
import threading
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from job.result import Result
from job.telemetry import ProgressReporter, TrainerServer, trainer
from job.telemetry.events import EpochEnded, PhaseBegan, StageBegan, StepTaken, WorkForecast
from job.telemetry.run_state import RunState
from tests.storage.test_direct_gets import write_certificate

PATH = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/ml/trainjobs/pets/status"


class Controller:
    """The server of Trainer's controller: it keeps each report, and answers with `code`."""

    def __init__(self, folder: Path) -> None:
        self.code = 200
        self.reports: list[dict[str, Any]] = []
        self.headers: list[Message] = []
        self.came = threading.Semaphore(0)
        controller = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == PATH
                controller.headers.append(self.headers)
                controller.reports.append(json.loads(body)["trainerStatus"])
                self.send_response(controller.code)
                self.send_header("Content-Length", "0")
                self.end_headers()
                controller.came.release()

            def log_message(self, *_: object) -> None:
                pass

        self.certificate = write_certificate(folder)
        self.token = folder / "token"
        self.token.write_text("first\n")
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "KUBEFLOW_TRAINER_SERVER_URL": f"https://127.0.0.1:{self.http.server_port}{PATH}",
            "KUBEFLOW_TRAINER_SERVER_CA_CERT": str(self.certificate),
            "KUBEFLOW_TRAINER_SERVER_TOKEN": str(self.token),
        }

    @property
    def server(self) -> TrainerServer:
        found = TrainerServer.find(self.environment)
        assert found
        return found


@pytest.fixture
def controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Controller]:
    monkeypatch.setattr(trainer, "INTERVAL_SECONDS", 0.02)
    controller = Controller(tmp_path)
    thread = threading.Thread(target=controller.http.serve_forever, args=(0.05,))
    thread.start()
    yield controller
    controller.http.shutdown()
    thread.join()
    controller.http.server_close()


def test_a_run_is_reported_until_it_is_complete(
    controller: Controller, caplog: pytest.LogCaptureFixture
) -> None:
    state = RunState("pets", ("training",))
    reporter = ProgressReporter(controller.server, state)
    controller.came.acquire()
    controller.token.write_text("second\n")
    # A report that has begun may still have the token that was there before.
    for _ in range(2):
        controller.came.acquire()
    reporter.finish(Result(status="released", scores={"accuracy": 0.9}).as_dict()).wait()
    assert controller.headers[0]["Authorization"] == "Bearer first"
    assert controller.headers[-1]["Authorization"] == "Bearer second"
    first, last = controller.reports[0], controller.reports[-1]
    assert "progressPercentage" not in first
    assert first["lastUpdatedTime"].endswith("+00:00")
    assert last["progressPercentage"] == 100
    assert last["estimatedRemainingSeconds"] == 0
    assert last["metrics"] == [{"name": "accuracy", "value": "0.9"}]
    assert caplog.text == ""


def test_a_run_that_failed_is_not_complete(controller: Controller) -> None:
    reporter = ProgressReporter(controller.server, RunState("pets"))
    controller.came.acquire()
    reporter.finish(Result(status="failed").as_dict()).wait()
    assert all("progressPercentage" not in report for report in controller.reports)


def test_a_refusal_costs_one_warning_and_one_for_the_end(
    controller: Controller, caplog: pytest.LogCaptureFixture
) -> None:
    controller.code = 403
    reporter = ProgressReporter(controller.server, RunState("pets"))
    for _ in range(3):
        controller.came.acquire()
    reporter.finish(Result(status="unchanged").as_dict()).wait()
    messages = [record.message for record in caplog.records]
    assert messages == [
        "Kubeflow Trainer has not taken the progress: HTTP 403",
        "Kubeflow Trainer has not taken the outcome: HTTP 403",
    ]


def test_no_other_authority_is_trusted_and_no_missing_token_is_in_the_way(
    controller: Controller, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "other").mkdir()
    other = write_certificate(tmp_path / "other")
    address = controller.server.address
    ended = Result(status="released").as_dict()
    stranger = TrainerServer(address, str(other), str(controller.token))
    ProgressReporter(stranger, RunState("pets")).finish(ended).wait()
    assert "the outcome: SSLCertVerificationError" in caplog.text
    without = TrainerServer(address, str(controller.certificate), str(tmp_path / "missing"))
    ProgressReporter(without, RunState("pets")).finish(ended).wait()
    assert "the outcome: FileNotFoundError" in caplog.text
    assert controller.reports == []


@pytest.mark.parametrize("missing", ["URL", "CA_CERT", "TOKEN"])
def test_without_one_of_the_variables_nobody_is_told(controller: Controller, missing: str) -> None:
    given = controller.environment
    del given[f"KUBEFLOW_TRAINER_SERVER_{missing}"]
    assert TrainerServer.find(given) is None


def test_progress_is_what_the_forecast_says_and_never_all() -> None:
    now = [100.0]
    state = RunState("pets", ("training",), lambda: now[0])
    state.apply(WorkForecast({"training": 60.0}))
    state.apply(PhaseBegan("training"))
    state.apply(StageBegan("tune", epochs=4, done=0, metric="val_accuracy"))
    state.apply(EpochEnded("tune", 1, 4, {"val_accuracy": 0.5, "val_loss": float("nan")}))
    state.apply(StepTaken(0.1, loss=0.25))
    snapshot = state.snapshot()
    status = trainer.describe_progress(snapshot, snapshot.started + 20)
    assert status["progressPercentage"] == 25
    assert status["estimatedRemainingSeconds"] == 60
    assert status["metrics"] == [
        {"name": "val_accuracy", "value": "0.5"},
        {"name": "loss", "value": "0.25"},
        {"name": "currentEpoch", "value": "2"},
        {"name": "totalEpochs", "value": "4"},
    ]
    now[0] += 1000
    assert (
        trainer.describe_progress(state.snapshot(), snapshot.started + 1000)["progressPercentage"]
        == 99
    )


def test_a_run_reports_to_the_trainer_of_its_environment(
    controller: Controller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from job.commands.watched import run_watched
    from job.settings import load
    from job.workers import Stop

    for name, value in controller.environment.items():
        monkeypatch.setenv(name, value)
    given = {
        "GRAFT_DATASET_URI": str(tmp_path / "missing"),
        "GRAFT_OUTPUT_URI": str(tmp_path / "models"),
        "GRAFT_TELEMETRY_PORT": "0",
    }
    ending = run_watched(load(given), Stop())
    assert ending.outcome.status == "failed"
    assert len(controller.reports) >= 1

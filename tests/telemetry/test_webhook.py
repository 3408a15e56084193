"""The CloudEvent that tells a webhook how a run ended, received over real sockets."""

import base64
import hashlib
import hmac
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from job.__main__ import _end_unfinished, main
from job.errors import STOP_SIGNALS
from job.result import Result
from job.settings import TelemetrySettings
from job.supervision import Ending
from job.telemetry import RunEnded, delivery, serve, webhook

SECRET = "a shared secret"
RELEASED = Result(
    status="released",
    run_id="ab12",
    release="s3://models/flowers/releases/ab12",
    promoted=True,
    scores={"accuracy": 0.9},
    reason="Größer als zuvor.",
)


class Receiver:
    """A webhook that keeps what it gets. It answers with `codes` in turn, then with 204.

    Attributes:
        answer: may be replaced by what else happens before the answer.
    """

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.requests: list[tuple[str, Message, bytes]] = []
        self.answer: Callable[[], None] = lambda: None
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((self.path, self.headers, body))
                receiver.answer()
                self.send_response(receiver.codes.pop(0) if receiver.codes else 204)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815 - http.server calls it so

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/hooks/t0ken?of=graft"

    @property
    def event(self) -> Any:
        """The event of the only request."""
        ((_, _, body),) = self.requests
        return json.loads(body)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(delivery, "PAUSE_SECONDS", 0.01)
    receiver = Receiver()
    thread = threading.Thread(target=receiver.http.serve_forever, args=(0.05,))
    thread.start()
    yield receiver
    receiver.http.shutdown()
    thread.join()
    receiver.http.server_close()


@pytest.fixture
def signals() -> Iterator[None]:
    """The handlers of the signals as they were before, afterwards."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def end_run(url: str, result: Result = RELEASED, secret: str = SECRET) -> None:
    settings = TelemetrySettings(
        port=0, webhook_url=SecretStr(url), webhook_secret=SecretStr(secret)
    )
    with serve(settings, "red-flowers") as telemetry:
        telemetry.emit(RunEnded(result.as_dict()))


def test_the_end_of_a_run_is_one_signed_cloud_event(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    end_run(receiver.url)
    ((path, headers, body),) = receiver.requests
    assert path == "/hooks/t0ken?of=graft"
    assert headers.get_content_type() == "application/cloudevents+json"
    expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert headers["X-Graft-Signature-256"] == f"sha256={expected}"
    event = receiver.event
    assert event["specversion"] == "1.0"
    assert event["type"] == "graft.run.finished"
    assert event["subject"] == "red-flowers"
    assert event["source"].startswith("/graft/")
    assert datetime.fromisoformat(event["time"]).tzinfo is not None
    assert event["data"] == RELEASED.as_dict()
    assert caplog.text == ""


def test_without_a_secret_there_is_no_signature(receiver: Receiver) -> None:
    end_run(receiver.url, secret="")
    ((_, headers, _),) = receiver.requests
    assert "X-Graft-Signature-256" not in headers


@pytest.mark.parametrize("codes", [[503, 503], [429, 500]])
def test_a_receiver_that_is_busy_twice_gets_the_same_bytes_again(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, codes: list[int]
) -> None:
    receiver.codes = codes
    end_run(receiver.url)
    assert len(receiver.requests) == 3
    signed = {(body, headers["X-Graft-Signature-256"]) for _, headers, body in receiver.requests}
    assert len(signed) == 1
    assert caplog.text == ""


def test_two_attempts_of_a_run_are_two_events(receiver: Receiver) -> None:
    end_run(receiver.url)
    end_run(receiver.url)
    first, second = (json.loads(body) for _, _, body in receiver.requests)
    assert first["id"] != second["id"]


@pytest.mark.parametrize(("code", "requests"), [(400, 1), (302, 1), (503, webhook.ATTEMPTS)])
def test_a_refusal_costs_a_warning_that_says_what_came_back(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, code: int, requests: int
) -> None:
    receiver.codes = [code] * webhook.ATTEMPTS
    end_run(receiver.url)
    assert len(receiver.requests) == requests
    assert f"the webhook has not taken the outcome: HTTP {code}" in caplog.text
    assert "t0ken" not in caplog.text


def test_a_receiver_that_is_away_costs_a_warning_without_its_address(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    end_run(f"http://someone:pa55@127.0.0.1:{port}/t0ken")
    assert "the webhook has not taken the outcome: ConnectionRefusedError" in caplog.text
    for secret in ("pa55", "t0ken", SECRET, str(port)):
        assert secret not in caplog.text


def test_a_receiver_that_hangs_is_not_waited_for(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "DEADLINE_SECONDS", 0.3)
    let_go, answered = threading.Event(), threading.Event()

    def hang() -> None:
        let_go.wait(60)
        answered.set()

    receiver.answer = hang
    end_run(receiver.url)
    assert not answered.is_set()
    assert "the webhook has not taken the outcome: no answer in time" in caplog.text
    let_go.set()


def test_a_user_and_a_password_go_into_a_header(receiver: Receiver) -> None:
    end_run(receiver.url.replace("http://", "http://someone:p%40ss@"))
    ((path, headers, _),) = receiver.requests
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"someone:p@ss"
    assert "someone" not in path + headers["Host"]


# --- whole runs, which end early ---


@pytest.fixture
def words(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signals: None
) -> list[str]:
    """A run whose images are missing: it ends with 3."""
    monkeypatch.setenv("GRAFT_TELEMETRY_WEBHOOK_URL", receiver.url)
    monkeypatch.setenv("GRAFT_TELEMETRY_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("GRAFT_TELEMETRY_PORT", "0")
    monkeypatch.setenv("GRAFT_NAME", "flowers")
    return ["run", str(tmp_path / "missing"), str(tmp_path / "models")]


@pytest.mark.runs
def test_a_run_that_fails_says_so(receiver: Receiver, words: list[str]) -> None:
    assert main(words) == 3
    assert receiver.event["data"]["status"] == "failed"
    assert receiver.event["subject"] == "flowers"


@pytest.mark.runs
def test_sigterm_while_the_receiver_is_told_changes_nothing_of_the_outcome(
    receiver: Receiver, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_RESULT_PATH", str(tmp_path / "result.json"))
    receiver.answer = lambda: os.kill(os.getpid(), signal.SIGTERM)
    assert main(words) == 3
    assert json.loads((tmp_path / "result.json").read_text()) == receiver.event["data"]


@pytest.mark.runs
def test_only_the_chief_of_several_workers_tells(
    receiver: Receiver, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = {"worker": ["one:2222", "two:2222"]}
    for index in (1, 0):
        task = {"type": "worker", "index": index}
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
        main(words)
        assert len(receiver.requests) == (index == 0)


def test_a_run_whose_working_process_was_killed_says_so_too(
    receiver: Receiver, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["graft", *words])
    assert _end_unfinished(Ending(code=137, signal=9, finished=False, last_lines=())) == 137
    assert receiver.event["data"]["error"]["kind"] == "killed"


def test_a_second_ctrl_c_waits_for_no_receiver(
    receiver: Receiver, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["graft", *words])
    cut_off = Ending(code=137, signal=9, finished=False, last_lines=(), cut_off=True)
    assert _end_unfinished(cut_off) == 75
    assert receiver.requests == []

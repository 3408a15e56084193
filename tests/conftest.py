"""Fixtures of several rooms: an S3 server, the same with faults, and a store of each kind.

    def test_something(store): ...         # runs twice: over S3 and over a folder
    def test_something(store_uri): ...     # the same, for tests that connect by URI
    def test_something(bucket): ...        # "s3://…": a fresh bucket
    def test_something(faulty, bucket): ...# the same bucket behind a proxy with faults

Every test starts without `GRAFT_*`, `AWS_*` and `MLFLOW_*` in its environment; each of these
fixtures sets what the AWS SDK needs.
"""

import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest
from hypothesis import settings

from job import storage
from job.errors import STOP_SIGNALS

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # before anybody imports TensorFlow

# The same examples on each machine, however slow it is.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")

# A test there may take a minute. They come first, so that the parallel processes end together.
LONG = ("tests/pipeline/", "tests/training/", "tests/export/", "tests/workers/", "tests/suite/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the long files to the front."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.fixture(autouse=True)
def _bare_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No setting, no credential and no shared AWS file of this machine reaches a test."""
    for name in [name for name in os.environ if name.startswith(("GRAFT_", "AWS_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    nowhere = tmp_path_factory.getbasetemp() / "no-such-aws-file"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(nowhere))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(autouse=True)
def _own_handlers_of_stops() -> Iterator[None]:
    """A run ends by ignoring requests to stop. What a later test starts would inherit that."""
    before = [(number, signal.getsignal(number)) for number in STOP_SIGNALS]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server (moto) on the loopback, one per process of xdist."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from moto.server import ThreadedMotoServer
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The S3 server's address, and the environment in which the AWS SDK finds it."""
    environment = {
        "AWS_ENDPOINT_URL_S3": s3_server,
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": "no-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "3",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def bucket(s3: str) -> str:
    """`s3://…`: a bucket of this test's own, through the proxy where it takes `faulty` too."""
    name = f"graft-{uuid4().hex}"
    urlopen(Request(f"{s3}/{name}", method="PUT")).close()
    return f"s3://{name}"


@pytest.fixture(params=["s3", "folder"])
def store_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind, by its URI."""
    if request.param == "s3":
        return str(request.getfixturevalue("bucket"))
    folder = tmp_path / "store"
    folder.mkdir()
    return folder.as_uri()


@pytest.fixture
def store(store_uri: str) -> storage.Store:
    """An empty store of each kind."""
    return storage.connect(store_uri)


@pytest.fixture
def faulty(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator["FaultyProxy"]:
    """The same S3 server behind a proxy that fails on demand and records every request."""
    proxy = FaultyProxy(s3)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.address)
    yield proxy
    proxy.close()


@dataclass(kw_only=True)
class Fault:
    """What the proxy does to a request of `method` (any if empty), `times` times.

    Attributes:
        status: answer this, with `code`, instead of passing the request on.
        answer: the body that goes with `status`, if not an error of that code.
        cut_after_bytes: pass on, and close the connection after so many bytes of the answer's body.
        lose_answer: pass on, and close the connection without an answer.
        drop_headers: pass on without these headers.
        drop_answer_headers: answer without these headers, but pass on.
        unless_header: the fault is none for a request with this header and value.
        after: so many requests of the method go through before.
        change_body: pass on, and put this over the first bytes of the answer's body.
    """

    method: str = ""
    times: int = 1_000_000
    status: int = 0
    code: str = "InternalError"
    answer: bytes = b""
    cut_after_bytes: int = -1
    lose_answer: bool = False
    drop_headers: tuple[str, ...] = ()
    drop_answer_headers: tuple[str, ...] = ()
    unless_header: tuple[str, str] = ("", "")
    after: int = 0
    change_body: bytes = b""


@dataclass
class FaultyProxy:
    """A proxy in front of an S3 server.

    `fail(...)` adds a fault. `requests` holds (method, path, headers).
    """

    target: str
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str, Message]] = field(default_factory=list)

    def __post_init__(self) -> None:
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def fail(self, method: str = "", **what: Any) -> None:
        self.faults.append(Fault(method=method, **what))

    def asked(self, method: str) -> list[Message]:
        """The headers of each request of `method` so far."""
        return [headers for name, _, headers in self.requests if name == method]

    def next_fault(self, method: str) -> Fault:
        for fault in self.faults:
            if fault.times <= 0 or fault.method not in ("", method):
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            fault.times -= 1
            return fault
        return Fault()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultyProxy
    protocol_version = "HTTP/1.1"

    def _handle_request(self) -> None:
        self.proxy.requests.append((self.command, self.path, self.headers))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.proxy.next_fault(self.command)
        name, value = fault.unless_header
        if name and self.headers.get(name) == value:
            fault = Fault()
        if fault.status:
            self._send_answer(fault.status, {}, fault.answer or _format_error(fault.code))
            return
        status, headers, answer = self._pass_on(body, fault)
        if fault.lose_answer:
            self.close_connection = True
            return
        answer = fault.change_body + answer[len(fault.change_body) :]
        self._send_answer(status, headers, answer, fault.cut_after_bytes)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle_request  # noqa: N815  (the base class's names)

    def _pass_on(self, body: bytes, fault: Fault) -> tuple[int, dict[str, str], bytes]:
        headers = {
            name: value for name, value in self.headers.items() if name not in fault.drop_headers
        }
        connection = HTTPConnection(self.proxy.target.removeprefix("http://"), timeout=30)
        connection.request(self.command, self.path, body, headers)
        with connection.getresponse() as answer:
            kept = {
                name: value
                for name, value in answer.headers.items()
                if name not in ("Connection", "Date", "Server", *fault.drop_answer_headers)
            }
            result = answer.status, kept, answer.read()
        connection.close()
        return result

    def _send_answer(
        self, status: int, headers: dict[str, str], body: bytes, cut_after_bytes: int = -1
    ) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if cut_after_bytes >= 0:
            body = body[:cut_after_bytes]
            self.close_connection = True
        if self.command != "HEAD":
            with suppress(ConnectionError):  # a client may have heard enough
                self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _format_error(code: str) -> bytes:
    message = "as the test asked for"
    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return f"<?xml version='1.0'?>{text}".encode()

"""An HTTP server that gives recorded answers of an API server, in order, over a real socket."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from job import launcher
from tests.launcher.objects import RUN

BATCH = "/apis/batch/v1/namespaces/graft"
CORE = "/api/v1/namespaces/graft"
JOB, JOBS, PODS, EVENTS = f"{BATCH}/jobs/{RUN}", f"{BATCH}/jobs", f"{CORE}/pods", f"{CORE}/events"
LOG = f"{CORE}/pods/{RUN}-abcde/log"


@dataclass(frozen=True)
class Answer:
    """`pieces` are sent one by one; with `broken` the connection then breaks inside the body."""

    status: int
    pieces: tuple[bytes, ...]
    broken: bool = False


@dataclass
class Recording:
    """What an API server answers. The last answer to a request is repeated.

    Attributes:
        token: the one bearer token that is accepted; empty accepts everybody.
        arrived: a request that is held has come.
        release: set to have it answered.
    """

    answers: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    token: str = ""
    arrived: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    held: tuple[str, ...] = ()

    def says(
        self, request: str, body: Any = None, status: int = 200, *, broken: bool = False
    ) -> None:
        """Add an answer to "GET /path" or "WATCH /path": JSON, or the lines of a stream."""
        lines = body if isinstance(body, list) else [body]
        pieces = tuple(
            each if isinstance(each, bytes) else json.dumps(each).encode() + b"\n" for each in lines
        )
        method, path = request.split()
        self.answers.setdefault((method, path), []).append(Answer(status, pieces, broken))

    def refuses(self, request: str, status: int, message: str, reason: str = "") -> None:
        """Answer with a `Status` object, as an API server does."""
        kind = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": status,
        }
        self.says(request, kind, status)

    def lists(self, request: str, *items: Any) -> None:
        self.says(request, {"metadata": {"resourceVersion": "10"}, "items": list(items)})

    def hold(self, request: str) -> None:
        """Answer this request only when `release` is set."""
        self.held = tuple(request.split())

    def next(self, method: str, path: str, authorization: str | None) -> Answer:
        self.asked.append((method, path))
        if self.held == (method, path):
            self.arrived.set()
            self.release.wait(60)
        if self.token and authorization != f"Bearer {self.token}":
            return Answer(401, (b'{"message": "Unauthorized"}',))
        nothing = Answer(404, (b'{"message": "nothing was recorded"}',))
        left = self.answers.get((method, path)) or [nothing]
        return left.pop(0) if len(left) > 1 else left[0]

    def times(self, request: str) -> int:
        method, path = request.split()
        return self.asked.count((method, path))


class _Handler(BaseHTTPRequestHandler):
    recording: Recording
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer("WATCH" if "watch" in parse_qs(urlsplit(self.path).query) else "GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _answer(self, method: str) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.recording.next(
            method, urlsplit(self.path).path, self.headers.get("Authorization")
        )
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in answer.pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if answer.broken:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *arguments: Any) -> None:
        """Keep the output of the tests clean."""


@pytest.fixture
def recording() -> Recording:
    return Recording()


@pytest.fixture
def kubeconfig(
    recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A kubeconfig for the server of the recording, also named in KUBECONFIG."""
    handler = type("Handler", (_Handler,), {"recording": recording})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    path = tmp_path / "kubeconfig"
    path.write_text(format_kubeconfig(f"http://127.0.0.1:{server.server_port}"))
    monkeypatch.setenv("KUBECONFIG", str(path))
    yield path
    server.shutdown()
    thread.join()
    server.server_close()


def format_kubeconfig(server: str, token: str = "", **cluster: Any) -> str:
    """The text of a kubeconfig for the namespace `graft`."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "me", "user": {"token": token} if token else {}}],
        "contexts": [
            {"name": "it", "context": {"cluster": "it", "user": "me", "namespace": "graft"}}
        ],
        "current-context": "it",
    }
    return json.dumps(config)


@pytest.fixture
def cluster(kubeconfig: Path) -> launcher.Cluster:
    return launcher.connect(None, str(kubeconfig))

"""A small HTTP server beside the run: `/metrics`, `/healthz`, the live page and its data.

It only ever reads the state. Clients that are slow, dead or too many are dropped, and the run does
not notice.
"""

import contextlib
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from job.telemetry import live
from job.telemetry.run_state import RunState

logger = logging.getLogger(__name__)

CONNECTIONS_AT_MOST = 16
# For a whole request: a client that sends a byte every few seconds holds its place no longer.
DEADLINE_SECONDS = 10.0
# `GRAFT_TELEMETRY_HOST` for every address of both families.
EVERY_ADDRESS = "*"
# How long an open page may take to fetch the outcome before the server goes.
OUTCOME_SECONDS = 3.0
# A page that was fetched or asked this recently is open (it asks every two seconds).
WATCHED_SECONDS = 6.0


class Answer(NamedTuple):
    """A body and what it is."""

    content_type: str
    body: bytes


class Server:
    """Serves `state` and `registry` from a daemon thread until `close()`.

    Args:
        state: the run to show.
        registry: the metrics to expose.
        host: address to listen on, IPv4 or IPv6. EVERY_ADDRESS or an empty one is every address of
            both families.
        port: TCP port. 0 takes a free one.

    Raises:
        OSError: the port is busy or not ours to take.
    """

    def __init__(self, state: RunState, registry: CollectorRegistry, host: str, port: int) -> None:
        self._state, self._registry = state, registry
        self._outcome_seen = threading.Event()
        self._watched = -WATCHED_SECONDS
        self._http = _Listener(host, port, self._find_answer)
        serving = threading.Thread(
            target=self._http.serve_forever, args=(0.1,), name="telemetry", daemon=True
        )
        serving.start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._http.server_port

    @property
    def url(self) -> str:
        """The page's address for a browser on this machine."""
        host = str(self._http.server_address[0])
        if host in ("::", "0.0.0.0"):
            host = "localhost"
        return f"http://[{host}]:{self.port}/" if ":" in host else f"http://{host}:{self.port}/"

    def close(self) -> None:
        """Stop listening. An open page first gets OUTCOME_SECONDS at most to fetch the outcome."""
        if self._state.snapshot().outcome and time.monotonic() - self._watched < WATCHED_SECONDS:
            self._outcome_seen.wait(OUTCOME_SECONDS)
        self._http.shutdown()
        self._http.server_close()

    def _find_answer(self, path: str, accept: str) -> Answer | None:
        match path:
            case "/":
                self._watched = time.monotonic()
                return Answer("text/html; charset=utf-8", live.PAGE)
            case "/live.json":
                self._watched = time.monotonic()
                snapshot = self._state.snapshot()
                if snapshot.outcome:
                    self._outcome_seen.set()
                return Answer("application/json", live.live_json(snapshot))
            case "/metrics":
                encode, content_type = choose_encoder(accept)
                return Answer(content_type, encode(self._registry))
            case "/healthz":
                return Answer("text/plain; charset=utf-8", b"ok\n")
            case _:
                return None


class _Listener(ThreadingHTTPServer):
    """At most CONNECTIONS_AT_MOST requests at once, each with a deadline."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 2 * CONNECTIONS_AT_MOST

    def __init__(self, host: str, port: int, answer: Callable[[str, str], Answer | None]) -> None:
        self.answer = answer
        self.policy = live.content_security_policy()
        self._places = threading.BoundedSemaphore(CONNECTIONS_AT_MOST)
        host = "" if host == EVERY_ADDRESS else host
        both_families = not host and socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if both_families or ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Bind without looking up the machine's own name, which may wait for a DNS server."""
        # A run that is started again at once gets the port although connections of the last one to
        # it are not forgotten yet. A port that somebody listens on stays busy.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name = str(self.server_address[0])
        self.server_port = int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand the connection to a thread, or drop it when too many are open."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one request inside its deadline."""

        def close_connection() -> None:
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

        deadline = threading.Timer(DEADLINE_SECONDS, close_connection)
        deadline.daemon = True
        deadline.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            deadline.cancel()
            self._places.release()

    def handle_error(self, *_: Any) -> None:
        """Log a fault of ours. A client that went away is not one."""
        if not isinstance(sys.exception(), OSError):
            logger.warning("the telemetry port could not answer a request", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Listener
    timeout = DEADLINE_SECONDS
    server_version = "graft"
    sys_version = ""
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = "text/plain; charset=utf-8"

    def do_GET(self) -> None:
        answer = self.server.answer(self.path.partition("?")[0], self.headers.get("Accept", ""))
        if answer is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer 405 where the base class says 501: the method is known and not allowed."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            super().send_error(HTTPStatus.METHOD_NOT_ALLOWED, None, explain)
        else:
            super().send_error(HTTPStatus(code), message, explain)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", self.server.policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        if self.command not in ("GET", "HEAD"):
            self.send_header("Allow", "GET, HEAD")
        super().end_headers()

    def log_message(self, *args: Any) -> None:
        """Log nothing: a scraper makes four requests a minute, a page thirty."""

"""A small HTTP server beside the run: `/metrics`, `/healthz`, the live page and its data.

It only ever reads the state. Clients that are slow, dead or too many are dropped, and the run does
not notice.
"""

import contextlib
import logging
import select
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class _Connection:
    """An open connection, and whether it has sent a whole request."""

    request: socket.socket
    address: str
    busy: bool = False
    opened: float = field(default_factory=time.monotonic)


class _Listener(ThreadingHTTPServer):
    """At most CONNECTIONS_AT_MOST requests at once, each with a deadline.

    Whoever asks gets a place, whatever others hold without asking: else clients that connect again
    and again would keep the scraper out.
    """

    daemon_threads = True
    block_on_close = False
    # More than any number of clients that connect at once: the kernel lets the rest wait a second.
    request_queue_size = 256

    def __init__(self, host: str, port: int, answer: Callable[[str, str], Answer | None]) -> None:
        self.answer = answer
        self.policy = live.content_security_policy()
        self._lock = threading.Lock()
        # In the order in which they came.
        self._connections: dict[Any, _Connection] = {}
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
        """Hand the connection to a thread, or drop it when too many are busy."""
        if self._admit(request, str(client_address[0])):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Free the place of a connection, then close it."""
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Drop the connections whose deadline has passed. It is called between requests."""
        latest = time.monotonic() - DEADLINE_SECONDS
        with self._lock:
            late = [each for each in self._connections.values() if each.opened < latest]
            for connection in late:
                self._drop(connection)

    def note_request(self, request: Any) -> None:
        """A whole request has come: this connection is not dropped for another one."""
        with self._lock:
            if connection := self._connections.get(request):
                connection.busy = True

    def _admit(self, request: Any, address: str) -> bool:
        """Make a place for a connection, if need be by dropping one that asks nothing."""
        with self._lock:
            if len(self._connections) >= CONNECTIONS_AT_MOST:
                idle = self._find_idle()
                if idle is None:
                    return False
                self._drop(idle)
            self._connections[request] = _Connection(request, address)
        return True

    def _find_idle(self) -> "_Connection | None":
        """The oldest connection that has sent nothing which waits to be read.

        It is one of the client with most connections, so that few clients leave the others a place.
        """
        waiting = [each for each in self._connections.values() if not each.busy]
        readable, _, _ = select.select([each.request for each in waiting], [], [], 0)
        idle = [each for each in waiting if each.request not in readable]
        shares = Counter(each.address for each in self._connections.values())
        # Of equal ones `max` takes the first, and the order is that in which they came.
        return max(idle, key=lambda each: shares[each.address], default=None)

    def _drop(self, connection: "_Connection") -> None:
        del self._connections[connection.request]
        with contextlib.suppress(OSError):
            connection.request.shutdown(socket.SHUT_RDWR)

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
        self.server.note_request(self.connection)
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

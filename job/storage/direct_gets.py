"""GETs past the AWS SDK: its own requests, on its own connections, for a tenth of its CPU time.

The SDK takes about 2 ms of CPU for a GET, and most of that is the same for all objects of a bucket.
So the first GET of a bucket is the SDK's own and is watched. Later ones repeat it with another key,
time and signature. Only a good answer counts here. After any other the SDK asks again itself, so
that retries, redirects and errors remain its own. Buckets behind a proxy, and requests with another
signature than version 4, stay with the SDK.
"""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from urllib3.exceptions import HTTPError, ProtocolError

from job.storage.signatures import sign_headers

# An answer that breaks off loses at most this much.
PIECE_BYTES = 1 << 18
# More is not the head of an answer of S3.
MAX_HEAD_BYTES = 1 << 16
# So long the first requests of other threads wait for what the very first one shows.
LEARNING_SECONDS = 1.0
# Of the SDK's headers those that belong to one request, or to its signature.
NOT_REPEATED = {
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "authorization",
    "if-match",
    "range",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
}
SIGNATURE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=\S+/\d{8}/(?P<region>[^/]+)/s3/aws4_request, SignedHeaders="
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How the GETs of one bucket are sent.

    Attributes:
        pool: the SDK's connections to the server.
        path: what comes before the encoded key.
        headers: what all requests have in common, by names in lower case.
        region: of the signatures, or None where requests are anonymous.
    """

    pool: Any
    path: str
    headers: Mapping[str, str]
    region: str | None


class DirectGets:
    """The direct GETs of one boto3 client. Safe to share between threads."""

    def __init__(self, client: Any) -> None:
        self._http = client._endpoint.http_session
        self._credentials = client._request_signer._credentials
        # By bucket. None where direct GETs do not work.
        self._routes: dict[str, Route | None] = {}
        self._first_threads: dict[str, int] = {}
        self._has_learned = threading.Event()
        self._own = threading.local()
        client.meta.events.register("before-send.s3.GetObject", self._watch)

    def get(self, bucket: str, key: str, etag: str) -> dict[str, Any] | None:
        """The whole object, as `get_object` of the client answers, or None: then ask the client.

        Args:
            bucket: as it is written in the address.
            key: the whole key.
            etag: of the version that is expected, or nothing.
        """
        self._own.was_refused = False
        thread = threading.get_ident()
        if self._first_threads.setdefault(bucket, thread) != thread:
            self._has_learned.wait(LEARNING_SECONDS)
        route = self._routes.get(bucket)
        if route is None:
            return None

        path = route.path + encode_key(key)
        headers = {**route.headers, "x-amz-checksum-mode": "ENABLED"}
        if etag:
            headers["if-match"] = f'"{etag}"'
        if route.region:
            credentials = self._credentials.get_frozen_credentials()
            sign_headers(path, headers, route.region, credentials)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        try:
            answer = DirectAnswer(route.pool, f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        except (HTTPError, OSError):
            return None
        if answer.status != 200 or answer.left is None:
            answer.close()
            self._own.was_refused = answer.status < 500
            return None
        return describe_answer(answer)

    def learn(self, bucket: str, key: str) -> None:
        """Take the request for an example that the client has just sent from this thread."""
        if bucket not in self._routes:
            self._routes[bucket] = self._find_route(self._own.request, key)
            self._has_learned.set()
        elif self._own.was_refused:
            # The client was not.
            self._routes[bucket] = None

    def _watch(self, request: Any, **_: Any) -> None:
        self._own.request = request

    def _find_route(self, request: Any, key: str) -> Route | None:
        url = urlsplit(request.url)
        encoded = encode_key(key)
        headers = {name.lower(): _as_text(value) for name, value in request.headers.items()}
        signature = headers.get("authorization", "")
        signed = SIGNATURE.match(signature)
        if (
            url.query
            or not url.path.endswith(f"/{encoded}")
            or (signature and not signed)
            or self._http._proxy_config.proxy_url_for(request.url)
        ):
            return None

        pool = self._http._get_connection_manager(request.url).connection_from_url(request.url)
        self._http._setup_ssl_cert(pool, request.url, self._http._verify)
        common = {name: value for name, value in headers.items() if name not in NOT_REPEATED}
        default_port = {"http": ":80", "https": ":443"}[url.scheme]
        return Route(
            pool=pool,
            path=url.path.removesuffix(encoded),
            headers={"host": url.netloc.removesuffix(default_port), **common},
            region=signed["region"] if signed else None,
        )


class DirectAnswer:
    """A server's answer, whose body is read piece by piece.

    Attributes:
        status: of HTTP.
        headers: by names in lower case.
        left: bytes of the body that have not been read, or None if the server does not say.
    """

    def __init__(self, pool: Any, request: bytes) -> None:
        self._pool = pool
        self._connection = pool._get_conn()
        try:
            if self._connection.sock is None:
                self._connection.connect()
            # A file around the socket would copy each piece once more.
            self._socket = self._connection.sock
            self._socket.settimeout(pool.timeout.read_timeout)
            self._socket.sendall(request)
            head, self._received = _receive_head(self._socket)
            self.status, self.headers = _parse_head(head)
        except BaseException:
            self._release(reusable=False)
            raise
        length = self.headers.get("content-length", "")
        is_plain = "transfer-encoding" not in self.headers and length.isdecimal()
        self.left = int(length) if is_plain else None

    def read(self, size: int) -> bytes:
        """The next bytes of the body, at most `size`. None are left where it is empty.

        Raises:
            ProtocolError: it broke off here.
        """
        if not self.left:
            return b""
        most = min(size, self.left)
        piece, self._received = self._received[:most], self._received[most:]
        try:
            piece = piece or self._socket.recv(most)
        except OSError as error:
            raise ProtocolError(f"The answer broke off: {error}") from error
        if not piece:
            raise ProtocolError(f"The answer broke off, {self.left} bytes before its end")
        self.left -= len(piece)
        return piece

    def close(self) -> None:
        """Give the connection back, and end it unless the whole answer was read."""
        if self._connection:
            closes = self.headers.get("connection", "").lower() == "close"
            self._release(reusable=self.left == 0 and not closes)

    def _release(self, *, reusable: bool) -> None:
        connection, self._connection = self._connection, None
        if not reusable:
            connection.close()
        self._pool._put_conn(connection)


def describe_answer(answer: DirectAnswer) -> dict[str, Any]:
    """The fields of a good answer that readers look at, named as by boto3."""
    fields: dict[str, Any] = {"Body": answer, "ETag": answer.headers.get("etag", "")}
    for name, value in answer.headers.items():
        if name.startswith("x-amz-checksum-"):
            algorithm = name.removeprefix("x-amz-checksum-")
            fields["ChecksumType" if algorithm == "type" else f"Checksum{algorithm.upper()}"] = (
                value
            )
    return fields


def encode_key(key: str) -> str:
    """The key in the path of a URL, as the SDK writes it."""
    return quote(key, safe="/~")


def _receive_head(connection: Any) -> tuple[bytes, bytes]:
    """The head of an answer, and the first bytes of its body.

    Raises:
        ProtocolError: it broke off, or has no end.
    """
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(PIECE_BYTES)
        if not piece or len(received) > MAX_HEAD_BYTES:
            raise ProtocolError("The head of the answer is broken")
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers of an answer.

    Raises:
        ProtocolError: this is not HTTP.
    """
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1.") or not (rest[:3].isascii() and rest[:3].isdigit()):
        raise ProtocolError("The answer is not HTTP")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ProtocolError("The head of the answer is broken")
        headers[name.strip().lower()] = value.strip()
    return int(rest[:3]), headers


def _as_text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value

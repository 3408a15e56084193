"""GETs past the AWS SDK: the same requests, and the SDK's own answers where they fail."""

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import shake_256
from ipaddress import ip_address
from pathlib import Path

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ProtocolError

from job.addresses import Access
from job.errors import (
    JobError,
    SettingsError,
    StoreConflict,
    StoreForbidden,
    StoreNotFound,
    StoreUnavailable,
)
from job.storage import Entry, Store, connect, download
from job.storage.direct_gets import DirectAnswer, encode_key
from job.storage.s3 import S3Store
from job.storage.signatures import sign_headers
from tests.conftest import FaultyProxy

MIB = 1 << 20
SDK = "amz-sdk-request"


def warm(bucket: str, contents: Mapping[str, bytes] | None = None) -> Store:
    """A store with these objects, whose next GETs are direct."""
    for key, content in {"first": b"1", **(contents or {})}.items():
        connect(bucket).write(key, content)
    store = connect(bucket)
    assert store.read("first") == b"1"
    return store


def find_senders(proxy: FaultyProxy) -> list[str]:
    return ["SDK" if request[SDK] else "direct" for request in proxy.asked("GET")]


def test_only_the_first_get_of_a_bucket_is_the_sdks(faulty: FaultyProxy, bucket: str) -> None:
    store = warm(bucket, {"a/é ü+~": b"hello", "empty": b""})
    assert (store.read("a/é ü+~"), store.read("empty")) == (b"hello", b"")
    assert find_senders(faulty) == ["SDK", "direct", "direct"]
    sdk, direct, _ = faulty.asked("GET")
    assert direct["User-Agent"] == sdk["User-Agent"]
    assert direct["Host"] == sdk["Host"]


@pytest.mark.parametrize("token", [None, "a/token+=="])
@pytest.mark.parametrize("key", ["a.jpg", "a//../é ü+%2e~?#&=", "tab\t\r"])
def test_a_signature_is_that_of_botocore(
    key: str, token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = datetime.datetime(2026, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
    monkeypatch.setattr("job.storage.signatures.time.gmtime", moment.timetuple)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: moment)
    credentials = ReadOnlyCredentials("an-id", "a-secret", token, None)
    path = f"/bucket/{encode_key(key)}"
    ours = {"host": "server:7070", "if-match": '"etag"', "user-agent": "graft"}
    theirs = AWSRequest("GET", f"http://server:7070{path}", ours)
    sign_headers(path, ours, "eu-central-1", credentials)
    botocore.auth.S3SigV4Auth(credentials, "s3", "eu-central-1").add_auth(theirs)
    assert ours["authorization"] == theirs.headers["Authorization"]


def test_anonymous_gets_have_no_signature_and_payers_say_so(
    faulty: FaultyProxy, bucket: str
) -> None:
    owner = connect(bucket)
    assert isinstance(owner, S3Store)
    for key in ("first", "a"):
        owner._s3.put_object(Bucket=owner._bucket, Key=key, Body=b"1", ACL="public-read")
    for access in (Access(anonymous=True), Access(requester_pays=True)):
        store = connect(bucket, access)
        assert store.read("first") == store.read("a") == b"1"
    anonymous, payer = (request for request in faulty.asked("GET") if not request[SDK])
    assert anonymous["Authorization"] is None
    assert payer["Authorization"]
    assert payer["x-amz-request-payer"] == "requester"


@pytest.mark.parametrize(
    ("status", "code", "ours"),
    [
        (403, "AccessDenied", StoreForbidden),
        (404, "NoSuchKey", StoreNotFound),
        (412, "PreconditionFailed", StoreConflict),
        (503, "SlowDown", StoreUnavailable),
        (400, "ExpiredToken", StoreUnavailable),
        (301, "PermanentRedirect", SettingsError),
    ],
)
def test_a_direct_get_fails_as_the_sdk_does(
    status: int, code: str, ours: type[JobError], faulty: FaultyProxy, bucket: str
) -> None:
    store = warm(bucket, {"a": b"hello"})
    faulty.fail("GET", status=status, code=code)
    with pytest.raises(ours) as caught:
        list(store.stream("a"))
    assert type(caught.value) is ours
    assert code in caught.value.message
    assert find_senders(faulty)[:3] == ["SDK", "direct", "SDK"]


def test_a_busy_server_and_a_lost_answer_are_asked_again(faulty: FaultyProxy, bucket: str) -> None:
    store = warm(bucket, {"a": b"hello"})
    for fault in ({"status": 503, "code": "SlowDown"}, {"lose_answer": True}):
        faulty.fail("GET", times=2, **fault)
        assert store.read("a") == b"hello"
    # Neither says that direct GETs do not work.
    assert store.read("a") == b"hello"
    assert find_senders(faulty)[-1] == "direct"


def test_another_version_is_refused(bucket: str) -> None:
    store = warm(bucket, {"a": b"old"})
    known = store.head("a")
    assert known is not None
    store.write("a", b"new")
    with pytest.raises(StoreConflict):
        list(store.stream("a", etag=known.etag))


def test_a_server_that_takes_only_the_sdks_gets_is_not_asked_in_vain_again(
    faulty: FaultyProxy, bucket: str
) -> None:
    store = warm(bucket, {"a": b"hello"})
    faulty.fail("GET", status=400, code="Odd", unless_header=(SDK, "attempt=1; max=3"))
    assert [store.read("a") for _ in range(3)] == [b"hello"] * 3
    assert find_senders(faulty) == ["SDK", "direct", "SDK", "SDK", "SDK"]


def test_a_body_cut_short_is_continued_by_the_sdk(faulty: FaultyProxy, bucket: str) -> None:
    content = shake_256(b"x").digest(3 * MIB)
    store = warm(bucket, {"a": content})
    faulty.fail("GET", times=1, cut_after_bytes=MIB)
    assert store.read("a") == content
    direct, rest = faulty.asked("GET")[1:]
    assert (direct["Range"], direct[SDK]) == (None, None)
    assert int(rest["Range"].removeprefix("bytes=").removesuffix("-")) == MIB
    assert rest["If-Match"]


def put_with_checksum(store: Store, key: str, content: bytes) -> None:
    """An object that the server keeps a SHA-256 of."""
    assert isinstance(store, S3Store)
    store._s3.put_object(Bucket=store._bucket, Key=key, Body=content, ChecksumAlgorithm="SHA256")


def test_the_checksum_that_comes_with_the_content_is_enough(
    faulty: FaultyProxy, bucket: str, tmp_path: Path
) -> None:
    store = warm(bucket)
    put_with_checksum(store, "a", b"hello")
    download(store, "a", tmp_path / "file", Entry("a", 5, "", 0.0))
    assert (tmp_path / "file").read_bytes() == b"hello"
    assert faulty.asked("HEAD") == []


def test_a_damaged_body_is_fetched_again(faulty: FaultyProxy, bucket: str, tmp_path: Path) -> None:
    store = warm(bucket)
    put_with_checksum(store, "a", b"hello")
    faulty.fail("GET", times=1, change_body=b"J")
    download(store, "a", tmp_path / "file", Entry("a", 5, "", 0.0))
    assert (tmp_path / "file").read_bytes() == b"hello"
    faulty.fail("GET", change_body=b"J")
    with pytest.raises(StoreUnavailable, match="arrived twice"):
        download(store, "a", tmp_path / "other", Entry("a", 5, "", 0.0))
    with pytest.raises(StoreUnavailable, match="checksum"):
        store.read("a")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_checksum_of_another_version_proves_nothing(
    faulty: FaultyProxy, bucket: str, tmp_path: Path
) -> None:
    """A server that ignores If-Match sends the new object with the new checksum."""
    store = warm(bucket)
    put_with_checksum(store, "a", b"old")
    old = store.head("a")
    assert old is not None
    put_with_checksum(store, "a", b"new")
    faulty.fail("GET", drop_headers=("If-Match", "if-match"))
    # The checksum that the server knows is that of the new one, and only the ETag is left.
    pieces = store.stream("a", etag=old.etag)
    assert next(pieces) == b"new"
    with pytest.raises(StopIteration) as caught:
        next(pieces)
    assert not caught.value.value


def test_credentials_are_renewed_for_direct_gets(
    faulty: FaultyProxy, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So soon before they expire, the SDK renews them for each request."""
    program = tmp_path / "credentials"
    fields = (
        '"Version": 1, "AccessKeyId": "key-%s", "SecretAccessKey": "x", '
        '"SessionToken": "token-%s", "Expiration": "%s"'
    )
    program.write_text(
        f"#!/bin/sh\necho >> {tmp_path}/calls\nnumber=$(wc -l < {tmp_path}/calls)\n"
        'expires=$(date -u -d "+5 minutes" +%Y-%m-%dT%H:%M:%SZ)\n'
        f"printf '{{{fields}}}' $number $number $expires\n"
    )
    program.chmod(0o755)
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {program}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    store = warm(bucket, {"a": b"hello"})
    for _ in range(2):
        assert store.read("a") == b"hello"
    one, other = faulty.asked("GET")[-2:]
    assert one[SDK] is other[SDK] is None
    assert one["x-amz-security-token"] != other["x-amz-security-token"]
    number = other["x-amz-security-token"].removeprefix("token-")
    assert f"Credential=key-{number}/" in other["Authorization"]


def test_gets_through_a_proxy_are_the_sdks(
    faulty: FaultyProxy, bucket: str, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3)
    monkeypatch.setenv("HTTP_PROXY", faulty.address)
    monkeypatch.setenv("NO_PROXY", "")
    store = warm(bucket, {"a": b"hello"})
    assert store.read("a") == b"hello"
    assert find_senders(faulty) == ["SDK", "SDK"]


def test_direct_gets_trust_the_ca_bundle_alone(
    faulty: FaultyProxy, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate = write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    faulty._server.socket = context.wrap_socket(faulty._server.socket, server_side=True)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", faulty.address.replace("http:", "https:"))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    content = shake_256(b"x").digest(MIB)
    store = warm(bucket, {"a": content})
    assert store.read("a") == content
    assert find_senders(faulty) == ["SDK", "direct"]

    # Another authority's certificates do not do.
    assert isinstance(store, S3Store)
    direct = store._session.direct
    assert direct is not None
    route = direct._routes[store._bucket]
    assert route is not None
    strict = HTTPSConnectionPool("127.0.0.1", faulty._server.server_port)
    direct._routes[store._bucket] = replace(route, pool=strict)
    assert direct.get(store._bucket, "a", "") is None


def write_certificate(folder: Path) -> Path:
    """A key and a certificate of 127.0.0.1 that signs itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


@contextmanager
def answer_with(answer: bytes, length: int = 1 << 16) -> Iterator[HTTPConnectionPool]:
    """Connections to a server that sends this in pieces, whatever it is asked, and ends them."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send() -> None:
            connection, _ = server.accept()
            # The client may have heard enough.
            with connection, suppress(OSError):
                connection.recv(1 << 16)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for start in range(0, len(answer), length):
                    connection.sendall(answer[start : start + length])

        thread = threading.Thread(target=send)
        thread.start()
        with HTTPConnectionPool(*server.getsockname()) as pool:
            yield pool
        thread.join()


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"SSH-2.0-server\r\n\r\n",
        b"HTTP/1.1 good\r\n\r\n",
        b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nETag: x\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000,
    ],
)
def test_a_broken_head_is_not_an_answer(head: bytes) -> None:
    with answer_with(head) as pool, pytest.raises(ProtocolError):
        DirectAnswer(pool, b"GET /")


@pytest.mark.parametrize("length", [1, 7, 1000])
def test_an_answer_is_the_same_in_pieces_of_any_length(length: int) -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab\r\n\r\ncde"
    with answer_with(whole, length) as pool:
        answer = DirectAnswer(pool, b"GET /")
        pieces = [answer.read(5) for _ in range(9)]
        answer.close()
    assert (answer.status, b"".join(pieces), answer.left) == (200, b"ab\r\n\r\ncde", 0)

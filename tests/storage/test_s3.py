"""S3 only: what a real server over a socket does, and the errors of the AWS SDK."""

import hashlib
import inspect
import itertools
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import boto3
import botocore.exceptions
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.utils import parse_timestamp
from urllib3.exceptions import ProtocolError

from job.errors import (
    JobError,
    SettingsError,
    StoreConflict,
    StoreForbidden,
    StoreNotFound,
    StoreUnavailable,
)
from job.storage import Checksum, Entry, Store, connect, download
from job.storage.s3 import S3Store
from job.storage.s3_client import create_client, read_moment
from job.storage.s3_errors import find_kind, translate_error
from tests.conftest import FaultyProxy

MIB = 1 << 20


@pytest.fixture
def store(bucket: str) -> Store:
    return connect(bucket)


@pytest.fixture
def direct(s3: str) -> Iterator[Any]:
    """The AWS SDK itself, past any proxy, without checksums of its own."""
    config = Config(request_checksum_calculation="when_required")
    with closing(boto3.client("s3", endpoint_url=s3, config=config)) as client:
        yield client


def name_of(bucket: str) -> str:
    return bucket.removeprefix("s3://")


def head(store: Store, key: str) -> Entry:
    entry = store.head(key)
    assert entry is not None
    return entry


# Keys are opaque


def test_a_key_is_an_opaque_string(bucket: str, tmp_path: Path) -> None:
    store = connect(f"{bucket}/root")
    keys = [
        "../../up",
        "..",
        "/in front",
        "a//b",
        "a..b",
        "a/./b",
        "x" * 1019,
        "é ü",
        "a?b#c&d=e+f%2e",
        "tab\t",
        "\r",
    ]
    for key in keys:
        store.write(key, key.encode())
    entries = list(store.list())
    assert [entry.key for entry in entries] == sorted(keys, key=str.encode)
    for number, entry in enumerate(entries):
        download(store, entry.key, tmp_path / f"{number}", entry)
        assert (tmp_path / f"{number}").read_bytes() == store.read(entry.key) == entry.key.encode()
    assert store.delete() == len(keys)


def test_keys_that_no_folder_can_hold_together_are_kept_apart(store: Store) -> None:
    for key in ("a", "a/b", "A"):
        store.write(key, key.encode())
    assert [(entry.key, store.read(entry.key)) for entry in store.list()] == [
        ("A", b"A"),
        ("a", b"a"),
        ("a/b", b"a/b"),
    ]


def test_a_key_with_a_newline_is_listed(store: Store, bucket: str) -> None:
    from moto.s3.models import (
        s3_backends,  # moto's own front door does not take such a key, S3 does
    )

    backend = next(
        account["global"]
        for account in s3_backends.values()
        if name_of(bucket) in account["global"].buckets
    )
    backend.put_object(name_of(bucket), "a\nb", b"x")
    assert [entry.key for entry in store.list()] == ["a\nb"]
    assert store.delete() == 1


def test_the_empty_objects_that_consoles_use_as_folders_are_left_out_but_deleted(
    bucket: str, direct: Any
) -> None:
    for key in ("cats/", "cats/black/", "cats/black/1.jpg"):
        direct.put_object(
            Bucket=name_of(bucket), Key=key, Body=b"x" if key.endswith("jpg") else b""
        )
    store = connect(f"{bucket}/cats")
    assert [entry.key for entry in store.list()] == ["black/1.jpg"]
    store.delete()
    assert direct.list_objects_v2(Bucket=name_of(bucket))["KeyCount"] == 0


# Many, and large


def test_more_than_a_thousand_objects_are_listed_and_deleted(
    faulty: FaultyProxy, bucket: str
) -> None:
    from moto.s3.models import s3_backends  # 1,100 objects over the socket would take 10 s

    store = connect(bucket)
    backend = next(
        account["global"]
        for account in s3_backends.values()
        if name_of(bucket) in account["global"].buckets
    )
    for number in range(1100):
        backend.put_object(name_of(bucket), f"many/{number:04}", b"")
    store.write("other", b"x")
    assert len(list(store.list("many"))) == 1100
    assert store.delete("many") == 1100
    assert [entry.key for entry in store.list()] == ["other"]
    assert len(faulty.asked("POST")) == 2


def test_a_refusal_inside_a_good_answer_to_a_deletion_is_not_swallowed(
    faulty: FaultyProxy, bucket: str
) -> None:
    store = connect(bucket)
    store.write("a/b", b"x")
    refusal = b"<Error><Key>a/b</Key><Code>AccessDenied</Code><Message>not yours</Message></Error>"
    faulty.fail(
        "POST", status=200, answer=b"<?xml version='1.0'?><DeleteResult>%s</DeleteResult>" % refusal
    )
    with pytest.raises(StoreForbidden, match=r"a/b: .*not yours"):
        store.delete("a")


def test_a_large_file_goes_in_parts_and_comes_back(
    faulty: FaultyProxy, bucket: str, tmp_path: Path
) -> None:
    store = connect(bucket)
    content = bytes(range(256)) * (40 * MIB // 256)
    (tmp_path / "large").write_bytes(content)
    store.upload("large", tmp_path / "large")
    entry = head(store, "large")
    assert (entry.size, entry.etag[-2:]) == (40 * MIB, "-3")
    download(store, "large", tmp_path / "back", entry)
    assert (tmp_path / "back").read_bytes() == content


def test_objects_are_not_read_whole_into_memory(s3: str, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(48 * MIB))
    code = (
        "import sys, tracemalloc; from pathlib import Path\n"
        "from job.storage import connect, download\n"
        "store, folder = connect(sys.argv[1]), Path(sys.argv[2])\n"
        "tracemalloc.start(); store.upload('large', folder / 'large')\n"
        "tracemalloc.reset_peak(); download(store, 'large', folder / 'back', store.head('large'))\n"
        "print(tracemalloc.get_traced_memory()[1])"
    )
    arguments = [sys.executable, "-c", code, bucket, str(tmp_path)]
    peak_bytes = int(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)
    assert (tmp_path / "back").stat().st_size == 48 * MIB
    assert peak_bytes < 12 * MIB


# Broken answers


def test_a_busy_server_is_asked_again(faulty: FaultyProxy, bucket: str) -> None:
    store = connect(bucket)
    store.write("a", b"hello")
    faulty.fail("GET", times=2, status=503, code="SlowDown")
    assert store.read("a") == b"hello"


@pytest.mark.parametrize("code", ["SlowDown", "InternalError", "ServiceUnavailable"])
def test_a_server_that_stays_busy_is_unavailable(
    faulty: FaultyProxy, bucket: str, code: str
) -> None:
    faulty.fail(status=503, code=code)
    for word in (lambda: connect(bucket).read("a"), lambda: list(connect(bucket).list())):
        with pytest.raises(StoreUnavailable, match=code) as caught:
            word()
    assert caught.value.exit_code == 75


def test_a_body_cut_short_is_continued_where_it_broke(faulty: FaultyProxy, bucket: str) -> None:
    store = connect(bucket)
    content = hashlib.shake_256(b"x").digest(3 * MIB)
    etag = store.write("a", content)
    faulty.fail("GET", times=2, cut_after_bytes=MIB)
    assert store.read("a") == content
    whole, *rest = faulty.asked("GET")
    assert whole["Range"] is None
    assert [request["If-Match"] for request in rest] == [f'"{etag}"'] * 2
    starts = [int(request["Range"].removeprefix("bytes=").removesuffix("-")) for request in rest]
    assert 0 < starts[0] < starts[1] < 3 * MIB


def test_a_body_that_is_always_cut_short_is_found_out(
    faulty: FaultyProxy, bucket: str, tmp_path: Path
) -> None:
    store = connect(bucket)
    store.write("a", b"x" * 1000)
    faulty.fail("GET", cut_after_bytes=0)
    with pytest.raises(StoreUnavailable):
        store.read("a")
    with pytest.raises(StoreUnavailable):
        download(store, "a", tmp_path / "file", head(store, "a"))
    assert not (tmp_path / "file").exists()


def test_an_object_that_changes_while_it_is_read_is_not_mixed(
    faulty: FaultyProxy, bucket: str
) -> None:
    store = connect(bucket)
    store.write("a", b"1" * MIB)
    faulty.fail("GET", times=1, cut_after_bytes=MIB // 2)
    stream = store.stream("a")
    next(stream)
    store.write("a", b"2" * MIB)
    with pytest.raises(StoreConflict):
        list(stream)


def test_a_small_object_that_changes_while_it_is_read_is_read_again(
    faulty: FaultyProxy, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as promoted.json, when its first answer breaks off."""
    store = connect(bucket)
    store.write("promoted.json", b"1" * MIB)
    faulty.fail("GET", times=1, cut_after_bytes=MIB // 2)

    def replace_object(_: float) -> None:
        store.write("promoted.json", b"2" * MIB)

    monkeypatch.setattr("job.storage.s3.time.sleep", replace_object)
    assert store.read("promoted.json") == b"2" * MIB


def test_a_small_object_that_never_stops_changing_is_unavailable(
    faulty: FaultyProxy, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = connect(bucket)
    contents = itertools.count()

    def replace_object(_: float = 0) -> None:
        store.write("promoted.json", b"%d" % next(contents) * MIB)

    replace_object()
    faulty.fail("GET", cut_after_bytes=MIB // 2)
    monkeypatch.setattr("job.storage.s3.time.sleep", replace_object)
    with pytest.raises(StoreUnavailable, match="changed 5 times"):
        store.read("promoted.json")


def test_an_interrupted_download_goes_on_in_the_next_process(
    faulty: FaultyProxy, bucket: str, tmp_path: Path
) -> None:
    store = connect(bucket)
    content = hashlib.shake_256(b"y").digest(2 * MIB)
    store.write("a", content)
    faulty.fail("GET", times=1, cut_after_bytes=MIB + 1)
    faulty.fail("GET", times=3, status=503)
    with pytest.raises(StoreUnavailable):
        download(connect(bucket), "a", tmp_path / "file", head(store, "a"))
    (part,) = tmp_path.glob("file.*.part")
    assert content.startswith(part.read_bytes())
    size = part.stat().st_size
    download(connect(bucket), "a", tmp_path / "file", head(store, "a"))
    assert size >= MIB // 2
    assert faulty.asked("GET")[-1]["Range"] == f"bytes={size}-"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == content


def test_a_server_that_ignores_ranges_does_not_mix_up_a_file(
    faulty: FaultyProxy, bucket: str, tmp_path: Path
) -> None:
    store = connect(bucket)
    content = hashlib.shake_256(b"z").digest(MIB)
    store.write("a", content)
    faulty.fail("GET", times=1, cut_after_bytes=MIB // 2)
    faulty.fail("GET", drop_headers=("Range",))
    with pytest.raises(StoreUnavailable, match="ignored the range"):
        download(store, "a", tmp_path / "file", head(store, "a"))
    assert not (tmp_path / "file").exists()


def test_a_damaged_body_is_fetched_again(faulty: FaultyProxy, bucket: str, tmp_path: Path) -> None:
    store = connect(bucket)
    store.write("a", b"hello")
    faulty.fail("GET", times=1, change_body=b"J")
    download(store, "a", tmp_path / "file", head(store, "a"))
    assert (tmp_path / "file").read_bytes() == b"hello"
    assert len(faulty.asked("GET")) == 2


@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "crc32", "md5"])
def test_a_checksum_that_the_store_keeps_is_verified(
    faulty: FaultyProxy,
    bucket: str,
    direct: Any,
    tmp_path: Path,
    algorithm: Literal["md5", "sha1", "sha256", "crc32"],
) -> None:
    """An ETag that is not an MD5, as of an object in parts, leaves the other checksums."""
    extra = {} if algorithm == "md5" else {"ChecksumAlgorithm": algorithm.upper()}
    direct.put_object(Bucket=name_of(bucket), Key="a", Body=b"hello", **extra)
    store = connect(bucket)
    known = store.checksum("a")
    expected = "3610a686" if algorithm == "crc32" else hashlib.new(algorithm, b"hello").hexdigest()
    assert known == Checksum(algorithm, expected)
    faulty.fail("GET", change_body=b"J")
    with pytest.raises(StoreUnavailable, match="arrived twice"):
        download(store, "a", tmp_path / "file", Entry("a", 5, "", 0.0))


def test_an_object_under_a_key_of_its_own_has_no_md5_and_is_verified_by_size(
    store: Store, bucket: str, direct: Any, tmp_path: Path
) -> None:
    direct.put_object(
        Bucket=name_of(bucket), Key="a", Body=b"hello", ServerSideEncryption="aws:kms"
    )
    assert store.checksum("a") is None
    download(store, "a", tmp_path / "file", Entry("a", 5, "", 0.0))
    assert (tmp_path / "file").read_bytes() == b"hello"


def test_a_body_that_fails_the_checksum_sent_with_it_is_not_taken_for_whole(
    faulty: FaultyProxy, bucket: str, direct: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Amazon's own endpoint sends a checksum with the body, and the SDK verifies it at the end."""
    direct.put_object(Bucket=name_of(bucket), Key="a", Body=b"hello", ChecksumAlgorithm="SHA256")
    store = connect(bucket)
    assert isinstance(store, S3Store)
    store._s3.meta.events.register(
        "provide-client-params.s3.GetObject",
        lambda params, **_: params | {"ChecksumMode": "ENABLED"},
    )
    assert store.read("a") == b"hello"
    faulty.fail("GET", change_body=b"J")
    with pytest.raises(StoreUnavailable, match="checksum"):
        store.read("a")


# Conditional writes


def test_a_winner_whose_answer_was_lost_still_knows_that_it_won(
    faulty: FaultyProxy, bucket: str
) -> None:
    store = connect(bucket)
    faulty.fail("PUT", times=1, lose_answer=True)
    etag = store.write_if("a", b"mine", None)
    assert len(faulty.asked("PUT")) == 2
    faulty.fail("PUT", times=1, lose_answer=True)
    assert store.write_if("a", b"mine again", etag) == head(store, "a").etag


def test_a_loser_that_had_to_repeat_itself_still_knows_that_it_lost(
    faulty: FaultyProxy, bucket: str
) -> None:
    store = connect(bucket)
    store.write_if("a", b"theirs", None)
    faulty.fail("PUT", times=1, status=503)
    with pytest.raises(StoreConflict):
        store.write_if("a", b"theirs", None)


@pytest.mark.parametrize("header", ["If-None-Match", "If-Match"])
def test_a_server_that_ignores_conditions_is_found_out_at_the_start(
    faulty: FaultyProxy, bucket: str, header: str
) -> None:
    faulty.fail("PUT", drop_headers=(header,))
    store = connect(bucket)
    with pytest.raises(SettingsError, match=f"ignores {header}") as caught:
        store.probe()
    assert "conditional writes" in caught.value.cure
    assert list(store.list()) == []


# Missing, forbidden, unreachable, wrongly set up


def test_a_missing_bucket_is_an_error_for_every_word(s3: str, tmp_path: Path) -> None:
    store = connect("s3://no-such-bucket/prefix")
    (tmp_path / "file").write_bytes(b"x")
    for word in (
        lambda: list(store.list()),
        lambda: store.read("a"),
        lambda: store.write("a", b"x"),
        lambda: store.upload("a", tmp_path / "file"),
        lambda: store.write_if("a", b"x", None),
        lambda: store.write_if("a", b"x", "0" * 32),
        store.delete,
        store.probe,
    ):
        with pytest.raises(StoreNotFound, match=r"s3://no-such-bucket.*NoSuchBucket"):
            word()


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_a_refusal_is_never_swallowed(
    faulty: FaultyProxy, bucket: str, tmp_path: Path, code: str
) -> None:
    store = connect(bucket)
    store.write("a", b"x")
    entry = head(store, "a")
    faulty.fail(status=403, code=code)
    for word in (
        lambda: list(store.list()),
        lambda: store.head("a"),
        lambda: download(store, "a", tmp_path / "file", entry),
        store.probe,
        lambda: store.upload("a", tmp_path / f"file.{'0' * 16}"),
    ):
        (tmp_path / f"file.{'0' * 16}").write_bytes(b"x")
        with pytest.raises(StoreForbidden) as caught:
            word()
        assert "credentials" in caught.value.cure
    assert not (tmp_path / "file").exists()


def test_no_credentials_are_said_to_be_missing(
    s3: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreForbidden, match="Unable to locate credentials"):
        list(connect(bucket).list())


def test_an_endpoint_where_nobody_listens_is_unavailable(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free.getsockname()[1]}")
    with pytest.raises(StoreUnavailable, match="Could not connect") as caught:
        list(connect("s3://bucket").list())
    assert "AWS_ENDPOINT_URL_S3" in caught.value.cure


def test_a_region_is_not_needed(s3: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    connect(bucket).write("a", b"x")
    assert connect(bucket).read("a") == b"x"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AWS_ENDPOINT_URL_S3", "not a url", "AWS_ENDPOINT_URL_S3"),
        ("AWS_ENDPOINT_URL_S3", "http://user:hunter2@127.0.0.1:1", "credentials"),
        ("AWS_PROFILE", "nobody", "shared file"),
        ("AWS_DEFAULT_REGION", "no region!", "AWS_DEFAULT_REGION"),
        ("AWS_MAX_ATTEMPTS", "many", "AWS_MAX_ATTEMPTS"),
    ],
)
def test_a_wrong_setting_of_the_sdk_is_a_settings_error(
    s3: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        connect("s3://bucket")
    assert said in caught.value.cure
    assert "hunter2" not in str(caught.value)


def test_a_bucket_name_that_cannot_be_one_is_a_settings_error(s3: str) -> None:
    with pytest.raises(SettingsError, match="Invalid bucket name"):
        list(connect("s3://No_Such!").list())


def test_a_custom_endpoint_gets_no_checksums_that_it_did_not_ask_for(
    faulty: FaultyProxy, bucket: str
) -> None:
    connect(bucket).write("a", b"x")
    (request,) = faulty.asked("PUT")
    assert not [name for name in request if "checksum" in name.lower()]


def test_an_endpoint_from_the_shared_file_counts_as_custom(
    faulty: FaultyProxy, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    (tmp_path / "config").write_text(f"[default]\nendpoint_url = {faulty.address}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    connect(bucket).write("a", b"x")
    (request,) = faulty.asked("PUT")
    assert not [name for name in request if "checksum" in name.lower()]


def test_amazons_own_endpoint_keeps_the_sdks_checksums(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    ignoring = create_client()
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    for config in (ignoring.meta.config, create_client().meta.config):
        assert (config.request_checksum_calculation, config.response_checksum_validation) == (
            "when_supported",
        ) * 2


# What the SDK raises


def sdk_exceptions() -> list[type[Exception]]:
    """Every exception class of botocore but the two roots.

    An answer is judged by its code, not by its class.
    """
    found = [kind for _, kind in inspect.getmembers(botocore.exceptions, inspect.isclass)]
    return [
        kind
        for kind in found
        if issubclass(kind, Exception) and not issubclass(kind, Warning | ClientError)
    ]


@pytest.mark.parametrize("kind", sdk_exceptions(), ids=lambda kind: kind.__name__)
def test_somebody_has_decided_what_each_exception_of_botocore_means(kind: type[Exception]) -> None:
    ours = find_kind(kind)
    if kind is BotoCoreError:
        assert ours is None
    elif kind.__module__ == "botocore.exceptions":
        assert ours is not None, f"add botocore.{kind.__name__}, or a base of it, to BY_CLASS"


def test_a_new_exception_of_botocore_would_be_noticed() -> None:
    class NewError(BotoCoreError):
        pass

    assert find_kind(NewError) is None
    assert type(translate_error(NewError(), "s3://b")) is JobError


@pytest.mark.parametrize(
    ("status", "code", "ours"),
    [
        (404, "NoSuchKey", StoreNotFound),
        (404, "404", StoreNotFound),
        (412, "PreconditionFailed", StoreConflict),
        (409, "ConditionalRequestConflict", StoreConflict),
        (409, "OperationAborted", StoreUnavailable),
        (400, "ExpiredToken", StoreForbidden),
        (403, "RequestTimeTooSkewed", StoreForbidden),
        (401, "Unauthorized", StoreForbidden),
        (400, "RequestTimeout", StoreUnavailable),
        (429, "TooManyRequests", StoreUnavailable),
        (500, "InternalError", StoreUnavailable),
        (507, "XMinioStorageFull", StoreUnavailable),
        (501, "NotImplemented", SettingsError),
        (301, "PermanentRedirect", SettingsError),
        (400, "AuthorizationHeaderMalformed", SettingsError),
        (400, "InvalidBucketName", SettingsError),
        (400, "KeyTooLongError", SettingsError),
    ],
)
def test_an_answer_is_judged_by_its_code_and_status(
    status: int, code: str, ours: type[JobError]
) -> None:
    answer = {
        "Error": {"Code": code, "Message": "said"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    error = translate_error(ClientError(answer, "GetObject"), "s3://b/k")
    assert type(error) is ours
    assert error.message.startswith("s3://b/k: ")
    assert code in error.message
    assert error.cure


def test_a_connection_that_breaks_below_the_sdk_is_unavailable() -> None:
    assert type(translate_error(ProtocolError("reset"), "s3://b")) is StoreUnavailable


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-03T04:05:06Z",
        "2026-02-03T04:05:06.789Z",
        "2026-02-03T04:05:06+01:00",
        "Tue, 03 Feb 2026 04:05:06 GMT",
        "1770091506",
    ],
)
def test_a_moment_is_read_as_by_the_sdk(text: str) -> None:
    assert read_moment(text) == parse_timestamp(text)
    assert read_moment(text).tzinfo is not None

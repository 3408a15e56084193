"""Buckets, folders and endpoints as people have them: each case is a row of inputs/stores.md."""

import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from job import dataset, storage
from job.addresses import Access, normalise
from job.errors import DatasetError, JobError, SettingsError, StoreForbidden, StoreUnavailable
from job.settings import CacheSettings, DatasetSettings, load
from job.storage.s3 import S3Store
from job.storage.s3_errors import translate_error
from job.telemetry import silent
from tests.conftest import FaultyProxy

ARN = "arn:aws:s3:eu-west-1:123456789012:accesspoint"
OUTPOST = "arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-01234567890123456/accesspoint"


def settings_of(uri: str) -> DatasetSettings:
    return load({"GRAFT_DATASET_URI": uri, "GRAFT_OUTPUT_URI": "file:///models"}).dataset


# Addresses that simply work


@pytest.mark.parametrize(
    ("written", "read"),
    [
        pytest.param("s3://data/flowers\n", "s3://data/flowers", id="newline-of-a-secret-file"),
        pytest.param("s3://data/flowers\r\n", "s3://data/flowers", id="line-end-of-windows"),
        pytest.param(" s3://data/flowers  ", "s3://data/flowers", id="blanks-around"),
        pytest.param("\u200bs3://data/flowers\u200b", "s3://data/flowers", id="zero-width-around"),
        pytest.param('"s3://data/flowers"', "s3://data/flowers", id="quotes-of-an-env-file"),
        pytest.param("S3://data/flowers", "s3://data/flowers", id="scheme-in-capitals"),
        pytest.param("/data/flowers", "file:///data/flowers", id="absolute-path"),
        pytest.param("/data/flowers/", "file:///data/flowers", id="absolute-path-with-slash"),
        pytest.param("/data/my flowers", "file:///data/my%20flowers", id="path-with-a-blank"),
        pytest.param("/data/blüten", "file:///data/bl%C3%BCten", id="path-with-an-umlaut"),
        pytest.param("/data/50%25", "file:///data/50%2525", id="path-with-a-percent-sign"),
        pytest.param("/data/a:b", "file:///data/a%3Ab", id="path-with-a-colon"),
        pytest.param("file://localhost/data", "file:///data", id="file-of-localhost"),
        pytest.param(f"s3://{ARN}/flowers", f"s3://{ARN}/flowers", id="access-point-arn"),
    ],
)
def test_an_address_works_as_it_is_written(written: str, read: str) -> None:
    assert settings_of(written).uri == read
    assert storage.connect(written).uri.replace("/flowers", "") == storage.connect(
        read
    ).uri.replace("/flowers", "")


@pytest.mark.parametrize(
    "written",
    [
        pytest.param("flowers", id="folder-of-the-working-directory"),
        pytest.param("./flowers", id="path-with-a-dot"),
        pytest.param("../here/flowers", id="path-through-the-parent"),
        pytest.param("~/flowers", id="path-below-home"),
    ],
)
def test_a_relative_path_is_the_folder_there(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    (here / "flowers" / "rose").mkdir(parents=True)
    (here / "flowers" / "rose" / "1.jpg").write_bytes(b"image")
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(here))
    store = storage.connect(settings_of(written).uri)
    assert [entry.key for entry in store.list()] == ["rose/1.jpg"]


def test_every_setting_with_an_address_takes_a_path() -> None:
    settings = load(
        {
            "GRAFT_DATASET_URI": "/data",
            "GRAFT_OUTPUT_URI": "/models\n",
            "GRAFT_BACKBONE_MIRROR": "/mirror",
            "GRAFT_BACKBONE_WEIGHTS": "release:/models/flowers",
        }
    )
    assert settings.output.uri == "file:///models"
    assert settings.backbone.mirror == "file:///mirror"
    assert settings.backbone.weights == "release:file:///models/flowers"


# Addresses that are met with the form that works


@pytest.mark.parametrize(
    ("written", "form"),
    [
        pytest.param("s3a://data/flowers", "Write s3://data/flowers", id="hadoop-s3a"),
        pytest.param("s3n://data/flowers", "Write s3://data/flowers", id="hadoop-s3n"),
        pytest.param("minio://data/flowers", "Write s3://data/flowers", id="minio-scheme"),
        pytest.param(
            "gs://data/flowers",
            "Write s3://data/flowers, and set AWS_ENDPOINT_URL_S3=https://storage.googleapis.com",
            id="google-gs",
        ),
        pytest.param(
            "https://storage.googleapis.com/data/flowers",
            "Write s3://data/flowers, and set AWS_ENDPOINT_URL_S3=https://storage.googleapis.com",
            id="google-https",
        ),
        pytest.param(
            "https://data.s3.amazonaws.com/flowers/",
            "Write s3://data/flowers/",
            id="amazon-virtual-host",
        ),
        pytest.param(
            "https://my.data.s3.eu-west-1.amazonaws.com/flowers",
            "Write s3://my.data/flowers",
            id="amazon-virtual-host-with-region",
        ),
        pytest.param(
            "https://s3.us-east-2.amazonaws.com/data/flowers",
            "Write s3://data/flowers",
            id="amazon-path-style",
        ),
        pytest.param(
            "https://s3-us-west-2.amazonaws.com/data/flowers",
            "Write s3://data/flowers",
            id="amazon-old-path-style",
        ),
        pytest.param(
            "https://data.s3.dualstack.eu-central-1.amazonaws.com/flowers",
            "Write s3://data/flowers",
            id="amazon-dualstack",
        ),
        pytest.param(
            "https://data.s3.cn-north-1.amazonaws.com.cn/flowers",
            "Write s3://data/flowers",
            id="amazon-china",
        ),
        pytest.param(
            "https://data.s3.amazonaws.com/f.zip?X-Amz-Signature=0123&X-Amz-Expires=60",
            "Write s3://data/f.zip",
            id="amazon-presigned",
        ),
        pytest.param(
            "https://eu-west-1.console.aws.amazon.com/s3/buckets/data?region=eu-west-1&prefix=f/",
            "Write s3://data/f/",
            id="amazon-console",
        ),
        pytest.param(
            "http://minio:9000/data/flowers",
            "Write s3://data/flowers, and set AWS_ENDPOINT_URL_S3=http://minio:9000",
            id="own-server-over-http",
        ),
        pytest.param(
            "https://0123.r2.cloudflarestorage.com/data",
            "Write s3://data, and set AWS_ENDPOINT_URL_S3=https://0123.r2.cloudflarestorage.com",
            id="cloudflare-r2",
        ),
        pytest.param(
            "https://account.blob.core.windows.net/data", "does not speak S3", id="azure-blob"
        ),
        pytest.param(
            "abfss://data@account/flowers", "abfss:// is not supported", id="azure-abfss-account"
        ),
        pytest.param("sftp://host/flowers", "sftp:// is not supported", id="sftp"),
        pytest.param("dbfs:/mnt/flowers", "dbfs:// is not supported", id="databricks"),
        pytest.param("az://data/flowers", "az:// is not supported", id="azure-az"),
        pytest.param("hf://datasets/a/b", "hf:// is not supported", id="hugging-face"),
        pytest.param(
            "https://huggingface.co/datasets/a/b", "download it", id="page-of-hugging-face"
        ),
        pytest.param("https://www.kaggle.com/datasets/a/b", "download it", id="page-of-kaggle"),
        pytest.param("https://drive.google.com/file/d/1", "download it", id="page-of-google-drive"),
        pytest.param("https://github.com/a/b", "download it", id="page-of-github"),
        pytest.param(
            "https://example.com/pets.zip", "download the files", id="archive-of-a-web-server"
        ),
        pytest.param(
            "https://pets.fra1.digitaloceanspaces.com/cats",
            "Write s3://pets/cats, and set AWS_ENDPOINT_URL_S3=https://fra1.digitaloceanspaces.com.",
            id="digitalocean-virtual-host",
        ),
        pytest.param(
            "https://pets.s3.eu-central-2.wasabisys.com/cats",
            "Write s3://pets/cats, and set AWS_ENDPOINT_URL_S3=https://s3.eu-central-2.wasabisys.com.",
            id="wasabi-virtual-host",
        ),
        pytest.param(
            "https://pets.account.r2.cloudflarestorage.com/cats",
            "Write s3://pets/cats, and set "
            "AWS_ENDPOINT_URL_S3=https://account.r2.cloudflarestorage.com.",
            id="cloudflare-virtual-host",
        ),
        pytest.param(
            "http://nas:9001/browser/pets/cats", "Write s3://pets/cats", id="minio-console"
        ),
        pytest.param(
            "https://console.cloud.google.com/storage/browser/pets/cats",
            "Write s3://pets/cats, and set AWS_ENDPOINT_URL_S3=https://storage.googleapis.com",
            id="google-console",
        ),
        pytest.param("\\\\nas\\pets", "as the container sees it", id="share-of-windows"),
        pytest.param("$DATA/pets", "not replaced by its value", id="variable-of-a-shell"),
        pytest.param("${DATA}/pets", "not replaced by its value", id="variable-in-braces"),
        pytest.param("hdfs://node/data", "hdfs:// is not supported", id="hdfs"),
        pytest.param("arn:aws:s3:::data/flowers", "Write s3://data/flowers", id="bucket-arn"),
        pytest.param("s3://arn:aws:s3:::data", "Write s3://data", id="bucket-arn-after-s3"),
        pytest.param(f"{ARN}/a/b", f"Write s3://{ARN}/a/b", id="bare-access-point-arn"),
        pytest.param("file:/data", "Write file:///data", id="one-slash"),
        pytest.param("file://data/flowers", "Write file:///data/flowers", id="two-slashes"),
        pytest.param("s3:/data/flowers", "Write s3://data/flowers", id="s3-with-one-slash"),
        pytest.param("s3:data/flowers", "Write s3://data/flowers", id="s3-without-slashes"),
        pytest.param(r"C:\data\flowers", "as the container sees it", id="windows-drive"),
    ],
)
def test_an_address_is_met_with_the_form_that_works(written: str, form: str) -> None:
    with pytest.raises(SettingsError) as by_settings:
        settings_of(written)
    (problem,) = by_settings.value.problems
    assert form in problem
    with pytest.raises(SettingsError) as by_connect:
        storage.connect(written)
    assert form in by_connect.value.cure


def test_a_password_in_an_address_is_repeated_nowhere() -> None:
    with pytest.raises(SettingsError) as caught:
        settings_of("s3://KEY:hunter2@data/flowers")
    assert "hunter2" not in str(caught.value)
    assert "Leave credentials to the AWS SDK" in str(caught.value)


@pytest.mark.parametrize(
    ("bucket", "host"),
    [
        pytest.param(
            f"{ARN}/flowers",
            "flowers-123456789012.s3-accesspoint.eu-west-1.amazonaws.com",
            id="arn-with-a-slash",
        ),
        pytest.param(
            f"{ARN}:flowers",
            "flowers-123456789012.s3-accesspoint.eu-west-1.amazonaws.com",
            id="arn-with-a-colon",
        ),
        pytest.param(
            f"{OUTPOST}/flowers",
            "flowers-123456789012.op-01234567890123456.s3-outposts.us-west-2.amazonaws.com",
            id="arn-of-an-outpost",
        ),
    ],
)
def test_an_access_point_takes_the_place_of_a_bucket(
    bucket: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tester")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "no-secret")
    assert normalise(f"s3://{bucket}") == f"s3://{bucket}"
    assert storage.split_uri(f"s3://{bucket}/a/data.zip") == (f"s3://{bucket}/a", "data.zip")
    assert storage.split_uri(f"s3://{bucket}") == (f"s3://{bucket}", "")
    store = storage.connect(f"s3://{bucket}/a")
    assert isinstance(store, S3Store)
    assert store.uri == f"s3://{bucket}/a"
    # The SDK's own reading of the bucket and the key that requests carry.
    signed = store._session.client.generate_presigned_url(
        "get_object", {"Bucket": store._bucket, "Key": store._prefix + "1.jpg"}
    )
    assert signed.startswith(f"https://{host}/a/1.jpg?")


# Whose bucket it is


def without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)


def test_a_public_bucket_is_read_without_credentials(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cat", "dog"):
        for number in range(2):
            storage.connect(bucket).write(f"{name}/{number}.jpg", b"image")
    without_credentials(monkeypatch)

    with pytest.raises(DatasetError) as caught:
        dataset.survey(DatasetSettings(uri=bucket))
    assert caught.value.exit_code == 3
    assert "GRAFT_DATASET_ANONYMOUS=true" in caught.value.cure

    listing = dataset.survey(DatasetSettings(uri=bucket, anonymous=True))
    assert len(listing.entries) == 4
    assert sorted({place.label for place in listing.places.values()}) == ["cat", "dog"]


def test_an_archive_in_a_public_bucket_is_fetched_without_credentials(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "data.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("cat", "dog"):
            archive.writestr(f"{name}/1.jpg", f"image of a {name}")
    storage.connect(bucket).upload(packed.name, packed)
    name = bucket.removeprefix("s3://")
    boto3.client("s3").put_object_acl(Bucket=name, Key=packed.name, ACL="public-read")
    without_credentials(monkeypatch)

    settings = DatasetSettings(uri=f"{bucket}/{packed.name}", anonymous=True)
    cache = CacheSettings(dir=tmp_path / "cache")
    fetched = dataset.fetch(dataset.survey(settings), settings, cache, silent())
    assert [record.label for record in fetched.records] == ["cat", "dog"]


def test_anonymous_requests_carry_no_signature(
    faulty: FaultyProxy, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(storage.connect(bucket, Access(anonymous=True)).list())
    list(storage.connect(bucket).list())
    anonymous, signed = faulty.asked("GET")[-2:]
    assert anonymous.get("Authorization") is None
    assert signed.get("Authorization")


def test_the_owner_may_have_the_requester_pay(faulty: FaultyProxy, bucket: str) -> None:
    storage.connect(bucket).write("cat/1.jpg", b"image")
    payer = ("x-amz-request-payer", "requester")
    for method in ("GET", "HEAD"):
        faulty.fail(method, status=403, code="AccessDenied", unless_header=payer)

    with pytest.raises(StoreForbidden) as caught:
        list(storage.connect(bucket).list())
    assert "GRAFT_DATASET_REQUESTER_PAYS=true" in caught.value.cure

    store = storage.connect(bucket, Access(requester_pays=True))
    assert [entry.key for entry in store.list()] == ["cat/1.jpg"]
    assert store.head("cat/1.jpg") is not None
    assert store.read("cat/1.jpg") == b"image"
    assert store.child("cat").read("1.jpg") == b"image"


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_objects_in_a_cold_storage_class_are_said_to_be_that(
    storage_class: str, s3: str, bucket: str, tmp_path: Path
) -> None:
    client = boto3.client("s3", endpoint_url=s3)
    for name in ("cat", "dog"):
        for number in range(2):
            client.put_object(
                Bucket=bucket.removeprefix("s3://"),
                Key=f"{name}/{number}.jpg",
                Body=b"image",
                StorageClass=storage_class,
            )
    settings = DatasetSettings(uri=bucket)
    listing = dataset.survey(settings)
    with pytest.raises(DatasetError) as caught:
        dataset.fetch(listing, settings, CacheSettings(dir=tmp_path), silent())
    assert caught.value.exit_code == 3
    assert "cold storage class" in caught.value.message
    assert "Restore the objects" in caught.value.cure


# Credentials that end


@pytest.mark.parametrize("code", ["ExpiredToken", "TokenRefreshRequired"])
def test_a_token_that_expires_in_the_middle_is_temporary(
    code: str, faulty: FaultyProxy, bucket: str, tmp_path: Path
) -> None:
    for name in ("cat", "dog"):
        for number in range(2):
            storage.connect(bucket).write(f"{name}/{number}.jpg", bytes([number]) * 9)
    settings = DatasetSettings(uri=bucket)
    listing = dataset.survey(settings)
    faulty.fail("GET", after=2, status=400, code=code)
    with pytest.raises(StoreUnavailable) as caught:
        dataset.fetch(listing, settings, CacheSettings(dir=tmp_path), silent())
    assert caught.value.exit_code == 75
    assert "expired" in caught.value.message


def test_a_head_that_meets_an_expired_token_is_temporary_too(
    faulty: FaultyProxy, bucket: str
) -> None:
    store = storage.connect(bucket)
    store.write("a", b"1")
    faulty.fail("HEAD", status=400)
    with pytest.raises(StoreUnavailable, match="expired while they were used"):
        store.head("a")


def make_answer(status: int, code: str, text: str) -> ClientError:
    """The error of the SDK for an answer of a server."""
    metadata: Any = {"HTTPStatusCode": status, "HTTPHeaders": {}}
    return ClientError(
        {"Error": {"Code": code, "Message": text}, "ResponseMetadata": metadata}, "X"
    )


@pytest.mark.parametrize(
    ("status", "code", "text", "exit_code", "cure"),
    [
        pytest.param(400, "Throttling", "Rate exceeded", 75, "A retry", id="sts-throttling"),
        pytest.param(400, "ThrottlingException", "", 75, "A retry", id="kms-throttling"),
        pytest.param(400, "RequestLimitExceeded", "", 75, "A retry", id="request-limit"),
        pytest.param(400, "IDPCommunicationError", "", 75, "A retry", id="identity-provider-away"),
        pytest.param(400, "KMS.DisabledException", "", 2, "key of KMS", id="key-is-disabled"),
        pytest.param(400, "KMS.NotFoundException", "", 2, "key of KMS", id="key-is-gone"),
        pytest.param(400, "RequestExpired", "", 2, "the clock", id="clock-is-wrong"),
        pytest.param(
            400, "UnrecognizedClientException", "", 2, "credentials", id="unknown-credentials"
        ),
        pytest.param(
            400,
            "InvalidRequest",
            "The object was stored using a form of Server Side Encryption.",
            2,
            "Copy them with another encryption",
            id="key-of-the-owner",
        ),
    ],
)
def test_an_answer_of_a_service_beside_the_store_is_what_it_says(
    status: int, code: str, text: str, exit_code: int, cure: str
) -> None:
    error = translate_error(make_answer(status, code, text), "s3://b/k")
    assert error.exit_code == exit_code
    assert cure in error.cure


def test_a_token_that_never_worked_is_a_setting(
    faulty: FaultyProxy, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "never-worked")
    faulty.fail("GET", status=400, code="ExpiredToken")
    with pytest.raises(StoreForbidden) as caught:
        list(storage.connect(bucket).list())
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param(
            {
                "AWS_WEB_IDENTITY_TOKEN_FILE": "{file}",
                "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/graft",
            },
            id="web-identity-token",
        ),
        pytest.param(
            {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "{file}",
            },
            id="pod-identity-token",
        ),
    ],
)
def test_a_missing_token_file_is_a_setting_with_its_path(
    environment: dict[str, str], bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_credentials(monkeypatch)
    missing = tmp_path / "token"
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(file=missing))
    with pytest.raises(SettingsError) as caught:
        list(storage.connect(bucket).list())
    assert caught.value.exit_code == 2
    assert str(missing) in caught.value.message
    assert "AWS_WEB_IDENTITY_TOKEN_FILE" in caught.value.cure


# Endpoints


class _WebPage(BaseHTTPRequestHandler):
    """What answers under an address that is not an S3 API."""

    status = 200

    def do_GET(self) -> None:
        body = b"<!doctype html><html><body>MinIO Console</body></html>"
        self.send_response(self.status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def web_page(s3: str) -> Iterator[str]:
    """The address of a server of web pages, as host:port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _WebPage)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def list_at(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> JobError:
    """The error of a listing from this endpoint."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    with pytest.raises(JobError) as caught:
        list(storage.connect("s3://bucket").list())
    return caught.value


def test_https_to_a_port_of_plain_http_is_a_setting(
    web_page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = list_at(f"https://{web_page}", monkeypatch)
    assert error.exit_code == 2
    assert "does not answer in TLS" in error.message
    assert "Write http://" in error.cure


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(200, id="console-in-place-of-the-api"),
        pytest.param(301, id="redirect-without-an-address"),
        pytest.param(400, id="nginx-plain-http-to-https-port"),
        pytest.param(403, id="firewall-page"),
        pytest.param(404, id="web-server-without-the-path"),
    ],
)
def test_a_web_page_is_no_empty_bucket(
    status: int, web_page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_WebPage, "status", status)
    error = list_at(f"http://{web_page}", monkeypatch)
    assert error.exit_code == 2
    assert "AWS_ENDPOINT_URL_S3" in error.cure


@pytest.mark.parametrize(
    "endpoint",
    [
        pytest.param("ftp://host", id="ftp-endpoint"),
        pytest.param("s3://host", id="s3-endpoint"),
        pytest.param("minio:9000", id="endpoint-without-a-scheme"),
        pytest.param("http://host:port", id="endpoint-with-a-word-as-port"),
        pytest.param("http://host:99999", id="endpoint-with-a-port-out-of-range"),
        pytest.param("http://user:hunter2@host", id="endpoint-with-a-password"),
    ],
)
def test_an_unsupported_endpoint_is_a_setting(
    endpoint: str, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = list_at(endpoint, monkeypatch)
    assert error.exit_code == 2
    assert "hunter2" not in str(error)


@pytest.mark.parametrize("kind", ["missing-ca", "ca-without-certificates", "ca-is-a-folder"])
def test_a_ca_bundle_that_cannot_be_read_is_a_setting_with_its_path(
    kind: str, web_page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "ca.pem"
    if kind == "ca-without-certificates":
        bundle.write_text("no certificate")
    elif kind == "ca-is-a-folder":
        bundle.mkdir()
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    error = list_at(f"https://{web_page}", monkeypatch)
    assert error.exit_code == 2
    assert str(bundle) in error.message
    assert "AWS_CA_BUNDLE" in error.cure


def test_a_server_that_is_away_is_still_temporary(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert list_at("http://127.0.0.1:1", monkeypatch).exit_code == 75


# Answers


def test_a_head_without_last_modified_is_an_object(faulty: FaultyProxy, bucket: str) -> None:
    store = storage.connect(bucket)
    store.write("a.jpg", b"image")
    faulty.fail("HEAD", drop_answer_headers=("Last-Modified", "last-modified"))
    entry = store.head("a.jpg")
    assert entry is not None
    assert (entry.key, entry.size, entry.modified) == ("a.jpg", 5, 0.0)

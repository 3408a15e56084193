"""A root in an S3 bucket as a store, through boto3."""

import re
import time
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError, FlexibleChecksumError

from job.errors import JobError, SettingsError, StoreConflict, StoreNotFound, StoreUnavailable
from job.storage.digests import Algorithm
from job.storage.s3_client import client
from job.storage.s3_errors import translate, translated
from job.storage.store import Checksum, Entry, Store

PIECE_BYTES = 1 << 18  # what a broken answer may lose
PARTS = TransferConfig(
    multipart_threshold=16 << 20, multipart_chunksize=16 << 20, max_concurrency=4
)
BATCH = 1000  # the most keys that one DeleteObjects takes
COMPUTABLE: tuple[Algorithm, ...] = (
    "sha256",
    "sha1",
    "crc32",
)  # S3's other ones need a library of their own
BREAKS = 5  # answers in a row that break without a new byte
WRITER = "graft-writer"  # metadata by which a writer knows its own object again


class S3Store(Store):
    """Objects whose keys start with one prefix; what follows is opaque and may be any key of up to 1,024 bytes."""

    def __init__(self, s3: Any, bucket: str, prefix: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._prefix = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"

    @classmethod
    def at(cls, bucket: str, prefix: str) -> "S3Store":
        """A store with a client of its own."""
        return cls(client(), bucket, prefix)

    @property
    def uri(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def list(self, prefix: str = "") -> Iterator[Entry]:
        for item in self._below(prefix):
            if item["Size"] or not item["Key"].endswith("/"):
                yield self._entry(item["Key"], item["Size"], item)

    def head(self, key: str) -> Entry | None:
        if not key:
            return None
        try:
            answer = self._ask("head_object", key)
        except StoreNotFound:
            return None
        return self._entry(self._prefix + key, answer["ContentLength"], answer)

    def stream(self, key: str, start: int = 0, etag: str = "") -> Iterator[bytes]:
        position, breaks = start, 0
        while (answer := self._get(key, position, etag)) is not None:
            etag = _etag(answer)
            try:
                for piece in self._pieces(key, answer["Body"]):
                    position, breaks = position + len(piece), 0
                    yield piece
                return
            except StoreUnavailable as error:
                breaks += 1
                if breaks == BREAKS or isinstance(error.__cause__, FlexibleChecksumError):
                    raise
                time.sleep(0.05 * 2**breaks)

    def write(self, key: str, data: bytes) -> str:
        return _etag(self._ask("put_object", key, Body=data))

    def upload(self, key: str, path: Path) -> None:
        with path.open("rb") as source, translated(self._address(key)):
            self._s3.upload_fileobj(source, self._bucket, self._prefix + key, Config=PARTS)

    def write_if(self, key: str, data: bytes, etag: str | None) -> str:
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": f'"{etag}"'}
        writer = uuid4().hex
        try:
            return _etag(
                self._ask("put_object", key, Body=data, Metadata={WRITER: writer}, **condition)
            )
        except StoreNotFound as error:
            if _code(error) == "NoSuchBucket":
                raise
            raise StoreConflict(
                f"{self._address(key)} is gone; expected the ETag {etag}."
            ) from error
        except StoreConflict as error:
            # The SDK repeats a request whose answer was lost, and then meets its own first success.
            if not _repeated(error) or not (won := self._written_by(key, writer)):
                raise
            return won

    def delete(self, prefix: str = "") -> int:
        count = len(self._delete([self._prefix + prefix])) if self.head(prefix) else 0
        keys = (item["Key"] for item in self._below(prefix))
        while deleted := self._delete(list(islice(keys, BATCH))):
            count += len(deleted)
        return count

    def child(self, suffix: str) -> "S3Store":
        return S3Store(self._s3, self._bucket, self._prefix + suffix)

    def checksum(self, key: str) -> Checksum | None:
        answer = self._ask("head_object", key, ChecksumMode="ENABLED")
        for algorithm in COMPUTABLE:
            value = answer.get(f"Checksum{algorithm.upper()}", "-")
            if "-" not in value and answer.get("ChecksumType") != "COMPOSITE":
                return Checksum(algorithm, b64decode(value).hex())
        return Checksum("md5", _etag(answer)) if _etag_is_md5(answer) else None

    def _address(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{key}"

    def _entry(self, key: str, size: int, answer: Mapping[str, Any]) -> Entry:
        return Entry(
            key.removeprefix(self._prefix), size, _etag(answer), answer["LastModified"].timestamp()
        )

    def _ask(self, operation: str, key: str, **more: Any) -> Any:
        with translated(self._address(key)):
            return getattr(self._s3, operation)(Bucket=self._bucket, Key=self._prefix + key, **more)

    def _below(self, prefix: str) -> Iterator[Any]:
        """The server's own words for each object below the folder `prefix`, a page at a time."""
        folder = self._prefix + (prefix.rstrip("/") + "/" if prefix else "")
        pages = iter(
            self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=folder)
        )
        while True:
            with translated(self.uri):
                page = next(pages, None)
            if page is None:
                return
            yield from page.get("Contents", ())

    def _get(self, key: str, start: int, etag: str) -> Any:
        """The answer to a GET from byte `start` on; None where the object ends before it."""
        wanted = {"Range": f"bytes={start}-"} if start else {}
        if etag:
            wanted["IfMatch"] = f'"{etag}"'
        try:
            answer = self._ask("get_object", key, **wanted)
        except SettingsError as error:
            if _code(error) == "InvalidRange":
                return None
            raise
        if start and not answer.get("ContentRange", "").startswith(f"bytes {start}-"):
            raise StoreUnavailable(
                f"{self._address(key)}: the server ignored the range from byte {start} on."
            )
        return answer

    def _pieces(self, key: str, body: Any) -> Iterator[bytes]:
        with closing(body):
            while True:
                with translated(self._address(key)):
                    piece = body.read(PIECE_BYTES)
                if not piece:
                    return
                yield piece

    def _written_by(self, key: str, writer: str) -> str | None:
        """The object's ETag if `writer` wrote it."""
        answer = self._ask("head_object", key)
        return _etag(answer) if answer.get("Metadata", {}).get(WRITER) == writer else None

    def _delete(self, keys: Sequence[str]) -> Sequence[str]:
        """Delete exactly these, at most 1,000 of them, and return them."""
        if not keys:
            return keys
        with translated(self.uri):
            doomed = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
            answer = self._s3.delete_objects(Bucket=self._bucket, Delete=doomed)
        for refusal in answer.get("Errors", ()):  # under a status of 200
            raise translate(
                ClientError({"Error": refusal}, "DeleteObjects"),
                f"s3://{self._bucket}/{refusal.get('Key')}",
            )
        return keys


def _etag(answer: Mapping[str, Any]) -> str:
    return str(answer.get("ETag", "")).strip('"')


def _etag_is_md5(answer: Mapping[str, Any]) -> bool:
    """An object of one part has its MD5 as ETag, unless it is encrypted under a key of its own."""
    encrypted = (
        answer.get("ServerSideEncryption", "").startswith("aws:kms")
        or "SSECustomerAlgorithm" in answer
    )
    return not encrypted and re.fullmatch("[0-9a-f]{32}", _etag(answer)) is not None


def _code(error: JobError) -> str:
    """The S3 server's own code for the error."""
    return _answer(error).get("Error", {}).get("Code", "")


def _repeated(error: JobError) -> bool:
    """Whether the SDK sent the request more than once."""
    return _answer(error).get("ResponseMetadata", {}).get("RetryAttempts", 0) > 0


def _answer(error: JobError) -> Any:
    return getattr(error.__cause__, "response", {})

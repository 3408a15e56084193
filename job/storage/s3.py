"""A root in an S3 bucket as a store, through boto3."""

import re
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError, FlexibleChecksumError

from job.addresses import OWN_ACCESS, Access
from job.errors import (
    SettingsError,
    StoreConflict,
    StoreNotFound,
    StoreUnavailable,
)
from job.storage.copying import copy_through_disk
from job.storage.direct_gets import PIECE_BYTES, DirectGets
from job.storage.s3_checksums import ContentCheck, find_checksum
from job.storage.s3_client import create_client
from job.storage.s3_errors import NO_S3, translate_error
from job.storage.s3_session import Session, read_error_answer, read_error_code
from job.storage.store import Checksum, ContentDamaged, Entry, Store

PART_BYTES = 16 << 20
PARTS = TransferConfig(
    multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=4
)
# S3 itself copies objects, so a part of a copy may be large.
COPIES = TransferConfig(multipart_threshold=256 << 20, multipart_chunksize=256 << 20)
# The most keys that one DeleteObjects takes.
BATCH = 1000
# So many answers in a row may break off without a new byte.
MAX_BREAKS = 5
# Metadata by which a writer recognises its own object.
WRITER = "graft-writer"

# What every listing has, even of an empty bucket.
LISTED = {"Contents", "IsTruncated", "KeyCount", "MaxKeys", "Name"}


class S3Store(Store):
    """Objects whose keys start with one prefix. What follows is opaque, up to 1,024 bytes."""

    def __init__(self, session: "Session", bucket: str, prefix: str) -> None:
        self._session = session
        self._s3 = session.client
        self._bucket = bucket
        self._prefix = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"

    @classmethod
    def connect(cls, bucket: str, prefix: str, access: Access = OWN_ACCESS) -> "S3Store":
        """A store with a client of its own."""
        payer = {"RequestPayer": "requester"} if access.requester_pays else {}
        client = create_client(anonymous=access.anonymous)
        return cls(Session(client, payer, DirectGets(client)), bucket, prefix)

    @property
    def uri(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def list(self, prefix: str = "") -> Iterator[Entry]:
        for item in self._list_items(prefix):
            if item["Size"] or not item["Key"].endswith("/"):
                yield self._make_entry(item["Key"], item["Size"], item)

    def head(self, key: str) -> Entry | None:
        if not key:
            return None
        try:
            answer = self._send_request("head_object", key)
        except StoreNotFound:
            return None
        if "ContentLength" not in answer:
            raise SettingsError(
                f"{self._address_of(key)}: the server does not say how large the object is.", NO_S3
            )
        return self._make_entry(self._prefix + key, answer["ContentLength"], answer)

    def stream(
        self, key: str, start: int = 0, etag: str = ""
    ) -> Generator[bytes, None, bool | None]:
        position, breaks = start, 0
        check = None
        while (answer := self._request_content(key, position, etag, breaks)) is not None:
            if position == 0:
                check = ContentCheck(answer, etag)
            etag = _etag_of(answer)
            try:
                with closing(answer["Body"]) as body:
                    while True:
                        with self._session.translate_errors(self._address_of(key)):
                            piece = body.read(PIECE_BYTES)
                        if not piece:
                            break
                        position, breaks = position + len(piece), 0
                        if check:
                            check.update(piece)
                        yield piece
                break
            except StoreUnavailable as error:
                if isinstance(error.__cause__, FlexibleChecksumError):
                    raise ContentDamaged(error.message, error.cure) from error.__cause__
                breaks += 1
                if breaks == MAX_BREAKS:
                    raise
                time.sleep(0.05 * 2**breaks)

        return check is not None and check.finish(self._address_of(key))

    def write(self, key: str, data: bytes) -> str:
        return _etag_of(self._send_request("put_object", key, Body=data))

    def upload(self, key: str, path: Path) -> None:
        with path.open("rb") as source, self._session.translate_errors(self._address_of(key)):
            self._s3.upload_fileobj(source, self._bucket, self._prefix + key, Config=PARTS)

    def write_if(self, key: str, data: bytes, etag: str | None) -> str:
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": f'"{etag}"'}
        writer = uuid4().hex
        try:
            answer = self._send_request(
                "put_object", key, Body=data, Metadata={WRITER: writer}, **condition
            )
            return _etag_of(answer)
        except StoreNotFound as error:
            if read_error_code(error) == "NoSuchBucket":
                raise
            raise StoreConflict(
                f"{self._address_of(key)} is gone; expected the ETag {etag}."
            ) from error
        except StoreConflict as error:
            # The SDK repeats a request whose answer was lost, and then meets its own first success.
            if not read_error_answer(error).get("ResponseMetadata", {}).get("RetryAttempts", 0):
                raise
            present = self._send_request("head_object", key)
            if present.get("Metadata", {}).get(WRITER) != writer:
                raise
            return _etag_of(present)

    def copy(self, source: str, target: str) -> None:
        origin = {"Bucket": self._bucket, "Key": self._prefix + source}
        try:
            with self._session.translate_errors(self._address_of(source)):
                self._s3.copy(origin, self._bucket, self._prefix + target, Config=COPIES)
        except StoreNotFound:
            raise
        except SettingsError:
            # Not every server copies, and Amazon's asks for the right to read tags.
            copy_through_disk(self, source, target)

    def delete(self, prefix: str = "") -> int:
        count = 0
        if self.head(prefix):
            self._delete_keys([self._prefix + prefix])
            count = 1

        items = self._list_items(prefix)
        while keys := [item["Key"] for item in islice(items, BATCH)]:
            self._delete_keys(keys)
            count += len(keys)
        return count

    def child(self, suffix: str) -> "S3Store":
        return S3Store(self._session, self._bucket, self._prefix + suffix)

    def checksum(self, key: str) -> Checksum | None:
        answer = self._send_request("head_object", key, ChecksumMode="ENABLED")
        if known := find_checksum(answer):
            return known

        # The ETag is the MD5 of an object of one part that has no encryption key of its own.
        own_key = "SSECustomerAlgorithm" in answer
        if own_key or answer.get("ServerSideEncryption", "").startswith("aws:kms"):
            return None
        etag = _etag_of(answer)
        return Checksum("md5", etag) if re.fullmatch("[0-9a-f]{32}", etag) else None

    def _address_of(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{key}"

    def _make_entry(self, key: str, size: int, answer: Mapping[str, Any]) -> Entry:
        # Not every server says when, above all in an answer to HEAD. It only orders a history.
        moment = answer.get("LastModified")
        modified = moment.timestamp() if moment else 0.0
        return Entry(key.removeprefix(self._prefix), size, _etag_of(answer), modified)

    def _send_request(self, operation: str, key: str, **more: Any) -> Any:
        with self._session.translate_errors(self._address_of(key)):
            return getattr(self._s3, operation)(
                Bucket=self._bucket, Key=self._prefix + key, **self._session.payer, **more
            )

    def _list_items(self, prefix: str) -> Iterator[Any]:
        """The server's description of each object below the folder `prefix`, page by page."""
        folder = self._prefix
        if prefix:
            folder += prefix.rstrip("/") + "/"
        paginator = self._s3.get_paginator("list_objects_v2")
        pages = iter(paginator.paginate(Bucket=self._bucket, Prefix=folder, **self._session.payer))
        while True:
            with self._session.translate_errors(self.uri):
                page = next(pages, None)
            if page is None:
                return
            if not LISTED & page.keys():
                # A web page is an empty list to the SDK.
                raise SettingsError(f"{self.uri}: the server's answer is no listing of S3.", NO_S3)
            yield from page.get("Contents", ())

    def _request_content(self, key: str, start: int, etag: str, breaks: int) -> Any:
        """The answer to a GET from byte `start` on, or None where the object ends before it."""
        direct = self._session.direct
        if direct and not start and not breaks:
            with self._session.translate_errors(self._address_of(key)):
                if answer := direct.get(self._bucket, self._prefix + key, etag):
                    return answer
        conditions = {}
        if start:
            conditions["Range"] = f"bytes={start}-"
        if etag:
            conditions["IfMatch"] = f'"{etag}"'
        try:
            answer = self._send_request("get_object", key, **conditions)
        except SettingsError as error:
            if read_error_code(error) == "InvalidRange":
                return None
            raise
        if start and not answer.get("ContentRange", "").startswith(f"bytes {start}-"):
            raise StoreUnavailable(
                f"{self._address_of(key)}: the server ignored the range from byte {start} on."
            )
        if direct and not start and not breaks:
            direct.learn(self._bucket, self._prefix + key)
        return answer

    def _delete_keys(self, keys: Sequence[str]) -> None:
        """Delete exactly these objects, at most 1,000 of them."""
        objects = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        with self._session.translate_errors(self.uri):
            answer = self._s3.delete_objects(Bucket=self._bucket, Delete=objects)

        # A refused key comes under a status of 200.
        for refusal in answer.get("Errors", ()):
            error = ClientError({"Error": refusal}, "DeleteObjects")
            raise translate_error(error, f"s3://{self._bucket}/{refusal.get('Key')}")


def _etag_of(answer: Mapping[str, Any]) -> str:
    return str(answer.get("ETag", "")).strip('"')

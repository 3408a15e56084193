"""An S3 server in memory, as the client of boto3 that the real `S3Store` speaks to."""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import BytesIO
from types import SimpleNamespace
from typing import IO, Any

from botocore.exceptions import ClientError, ReadTimeoutError
from urllib3.exceptions import ProtocolError

from tools.torture.clock import Clock
from tools.torture.scheduler import Scheduler

# Code and status by the kind of fault. The operation has no effect.
REFUSALS: Mapping[str, tuple[str, int]] = {
    "500": ("InternalError", 500),
    "503": ("SlowDown", 503),
    "429": ("TooManyRequests", 429),
    "expired": ("ExpiredToken", 400),
    "409": ("ConditionalRequestConflict", 409),
    "412": ("PreconditionFailed", 412),
}
ANY = ("500", "503", "429", "slow")
# Control objects are small: their bytes are protected on the way by TLS alone.
VERIFIED = (".jpg", ".npz", ".pb", ".keras")
PAGE_KEYS = 7
PART_BYTES = 512
# A listing that is stale shows the bucket before so many changes.
STALE_CHANGES = 3


@dataclass(frozen=True, slots=True)
class Content:
    """An object: its bytes, its version, and who wrote it."""

    data: bytes
    etag: str
    modified: datetime
    metadata: Mapping[str, str]


@dataclass(slots=True, kw_only=True)
class Bucket:
    """A bucket that conforms to S3, seen by the processes of a world.

    Attributes:
        objects: by key.
        scheduler: gives each request its turn and its fault.
        clock: of the world.
        answered: the processes that have had an answer.
        expired: the processes whose credentials have expired for good.
        uploads: what has arrived of uploads in parts, by an invisible id.
        rotten: the keys whose content was damaged.
    """

    scheduler: Scheduler
    clock: Clock
    objects: dict[str, Content] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    expired: set[str] = field(default_factory=set)
    uploads: dict[int, bytes] = field(default_factory=dict)
    rotten: list[str] = field(default_factory=list)
    _earlier: deque[dict[str, Content]] = field(
        default_factory=lambda: deque([{}], maxlen=STALE_CHANGES)
    )
    # What the session looks into for the credentials.
    _request_signer: Any = field(default_factory=lambda: SimpleNamespace(_credentials=None))

    def put(self, key: str, data: bytes, metadata: Mapping[str, str] | None = None) -> str:
        """Write an object. Returns its ETag."""
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        modified = datetime.fromtimestamp(int(self.clock.read_wall()), UTC)
        self._earlier.append(dict(self.objects))
        self.objects[key] = Content(data, etag, modified, metadata or {})
        return etag

    def head_object(self, Key: str, **_: Any) -> Any:  # noqa: N803
        """As the client of boto3 does."""
        self._begin("HEAD", Key)
        content = self._find("HeadObject", Key, "404")
        return {
            "ContentLength": len(content.data),
            "ETag": f'"{content.etag}"',
            "LastModified": content.modified,
            "Metadata": content.metadata,
        }

    def get_object(self, Key: str, Range: str = "", IfMatch: str = "", **_: Any) -> Any:  # noqa: N803
        """As the client of boto3 does."""
        can = ("cut", "wrong") if Key.endswith(VERIFIED) else ("cut",)
        fault = self._begin("GET", Key, *can, *(("rot",) if "/checkpoints/" in Key else ()))
        if fault == "rot" and Key in self.objects:
            self.damage(Key)
        content = self._find("GetObject", Key, "NoSuchKey")
        if IfMatch and IfMatch.strip('"') != content.etag:
            raise _refuse("GetObject", "PreconditionFailed", 412)
        start = int(Range.removeprefix("bytes=").rstrip("-") or 0)
        if Range and start >= len(content.data):
            raise _refuse("GetObject", "InvalidRange", 416)
        data = content.data[start:]
        if fault == "wrong":
            data = bytes([data[0] ^ 1]) + data[1:] if data else data
        answer = {"Body": _Body(data, is_cut=fault == "cut"), "ETag": f'"{content.etag}"'}
        if Range:
            answer["ContentRange"] = f"bytes {start}-"
        return answer

    def put_object(self, Key: str, Body: bytes, **more: Any) -> Any:  # noqa: N803
        """As the client of boto3 does."""
        conditions: dict[str, str] = {}
        for name in ("IfMatch", "IfNoneMatch"):
            if name in more:
                conditions[name] = more[name]
        can = ["lost", "repeated"]
        # The key of the probe is unique: nobody can be in its way.
        if conditions and "graft-probe" not in Key:
            can += ["409", "412"]
        fault = self._begin("PUT", Key, *can)
        self._require(Key, conditions, attempts=0)
        etag = self.put(Key, Body, more.get("Metadata"))
        self.scheduler.done("PUT", Key)
        if fault == "lost":
            raise ReadTimeoutError(endpoint_url="in memory")
        if fault == "repeated":
            # The SDK repeats a request whose answer was lost, perhaps after others had a turn.
            self.scheduler.operate("PUT again", Key)
            self._require(Key, conditions, attempts=1)
            etag = self.put(Key, Body, more.get("Metadata"))
            self.scheduler.done("PUT", Key)
        return {"ETag": f'"{etag}"'}

    def damage(self, key: str) -> None:
        """Flip a bit of an object, without another ETag, as a failing disk does."""
        content = self.objects[key]
        place = len(content.data) // 2
        data = bytearray(content.data)
        data[place] ^= 1
        self.objects[key] = replace(content, data=bytes(data))
        self.rotten.append(key)

    def upload_fileobj(self, source: IO[bytes], _bucket: str, key: str, **_: Any) -> None:
        """As the client of boto3 does: in parts where it is large. A failure aborts the upload."""
        data = source.read()
        # The size of a log is not the seed's: it holds real times.
        if len(data) <= PART_BYTES or "/logs/" in key:
            self.put_object(key, data)
            return
        self._begin("CREATE", key)
        number = self.scheduler.operations
        self.uploads[number] = b""
        try:
            for start in range(0, len(data), PART_BYTES):
                if self._begin("PART", key, "lost") == "lost":
                    raise ReadTimeoutError(endpoint_url="in memory")
                self.uploads[number] += data[start : start + PART_BYTES]
            fault = self._begin("COMPLETE", key, "lost")
            self.put(key, self.uploads[number])
            self.scheduler.done("PUT", key)
            if fault == "lost":
                raise ReadTimeoutError(endpoint_url="in memory")
        except Exception:
            self.uploads.pop(number)
            raise
        self.uploads.pop(number)

    def copy(self, CopySource: Any, _bucket: str, key: str, **_: Any) -> None:  # noqa: N803
        """As the client of boto3 does, for a small object."""
        fault = self._begin("COPY", key, "lost")
        content = self._find("CopyObject", CopySource["Key"], "NoSuchKey")
        self.put(key, content.data, content.metadata)
        self.scheduler.done("COPY", key)
        if fault == "lost":
            raise ReadTimeoutError(endpoint_url="in memory")

    def get_paginator(self, _operation: str) -> Any:
        """As the client of boto3 does."""
        return SimpleNamespace(paginate=self._list_pages)

    def delete_objects(self, Delete: Any, **_: Any) -> Any:  # noqa: N803
        """As the client of boto3 does."""
        keys = [item["Key"] for item in Delete["Objects"]]
        fault = self._begin("DELETE", keys[0], "lost")
        self._earlier.append(dict(self.objects))
        for key in keys:
            self.objects.pop(key, None)
            self.scheduler.done("DELETE", key)
        if fault == "lost":
            raise ReadTimeoutError(endpoint_url="in memory")
        return {}

    def _list_pages(self, Prefix: str, **_: Any) -> Iterator[Any]:  # noqa: N803
        last = ""
        while True:
            # Each page shows the bucket as it is when it is asked for.
            fault = self._begin("LIST", Prefix, "stale")
            shown = self._earlier[0] if fault == "stale" else self.objects
            keys = sorted(key for key in shown if key.startswith(Prefix) and key > last)
            page = []
            for key in keys[:PAGE_KEYS]:
                content = shown[key]
                row = {"Key": key, "Size": len(content.data), "ETag": f'"{content.etag}"'}
                page.append({**row, "LastModified": content.modified})
            yield {"Contents": page, "Name": "bucket", "KeyCount": len(page)}
            if len(keys) <= PAGE_KEYS:
                return
            last = keys[PAGE_KEYS - 1]

    def _begin(self, kind: str, key: str, *can: str) -> str:
        process = self.scheduler.current
        # A token that has never worked is a wrong setting.
        if process and process.name in self.answered:
            can = ("expired", "expires", *can)
        fault = self.scheduler.operate(kind, key, (*ANY, *can))
        if process:
            self.answered.add(process.name)
            if fault == "expires":
                self.expired.add(process.name)
            if process.name in self.expired:
                raise _refuse(kind, *REFUSALS["expired"])
        if fault == "slow":
            self.clock.now += 100
            return ""
        if fault in REFUSALS:
            raise _refuse(kind, *REFUSALS[fault])
        return fault

    def _find(self, operation: str, key: str, code: str) -> Content:
        if key not in self.objects:
            raise _refuse(operation, code, 404)
        return self.objects[key]

    def _require(self, key: str, conditions: Mapping[str, str], attempts: int) -> None:
        present = self.objects.get(key)
        if "IfNoneMatch" in conditions and present:
            raise _refuse("PutObject", "PreconditionFailed", 412, attempts)
        if expected := conditions.get("IfMatch", "").strip('"'):
            if present is None:
                raise _refuse("PutObject", "NoSuchKey", 404, attempts)
            if present.etag != expected:
                raise _refuse("PutObject", "PreconditionFailed", 412, attempts)


class _Body:
    """The body of an answer, which may break off in its middle."""

    def __init__(self, data: bytes, *, is_cut: bool) -> None:
        self._file = BytesIO(data[: len(data) // 2] if is_cut else data)
        self._is_cut = is_cut

    def read(self, size: int) -> bytes:
        piece = self._file.read(size)
        if not piece and self._is_cut:
            raise ProtocolError("the connection broke off")
        return piece

    def close(self) -> None:
        """Nothing is open."""


def _refuse(operation: str, code: str, status: int, attempts: int = 0) -> ClientError:
    metadata = {"HTTPStatusCode": status, "RetryAttempts": attempts}
    names = {"HEAD": "HeadObject", "GET": "GetObject", "PUT": "PutObject", "PART": "UploadPart"}
    if operation in ("HEAD", "HeadObject"):
        # An answer to HEAD has no body, so that its code is the status alone.
        code = str(status)
    answer: Any = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": metadata}
    return ClientError(answer, names.get(operation, operation))

"""What Graft needs of a store, asked of a real one: is this bucket, server or file system fit?

    AWS_ENDPOINT_URL_S3=… python -m tools.torture.stores s3://bucket/prefix
    python -m tools.torture.stores file:///mnt/share

Everything is written below a folder of its own, which is removed afterwards. The last line says how
many of the promises hold. Graft copies objects through its own disk, so that no store needs to copy
on the server.
"""

import argparse
import hashlib
import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from job import storage
from job.errors import JobError, StoreConflict
from job.storage import Store
from job.storage.digests import compute_checksum

WRITERS = 16
# More than one part of an upload.
LARGE_BYTES = (16 << 20) + 12_345
# More than one page of a listing.
MANY = 1_001


class Broken(Exception):
    """A promise does not hold. The text says what was seen."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one promise.

    Attributes:
        promise: what a store must do.
        holds: whether it did.
        detail: what was seen.
    """

    promise: str
    holds: bool
    detail: str


def require(condition: bool, seen: str) -> None:
    """Raise `Broken` unless the condition holds."""
    if not condition:
        raise Broken(seen)


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Raise `Broken` unless the block is refused by a condition."""
    try:
        yield
    except StoreConflict:
        return
    raise Broken(f"{what} was accepted")


def create_once(store: Store) -> str:
    """An object is created only where there is none."""
    store.write_if("created", b"first", None)
    with refused("a second creation"):
        store.write_if("created", b"second", None)
    require(store.read("created") == b"first", "the refused bytes are there")
    return ""


def replace_expected(store: Store) -> str:
    """An object is replaced only while it has the expected ETag."""
    etag = store.write_if("replaced", b"first", None)
    second = store.write_if("replaced", b"second", etag)
    with refused("a replacement under an old ETag"):
        store.write_if("replaced", b"third", etag)
    with refused("a replacement under a wrong ETag"):
        store.write_if("replaced", b"third", "0" * 32)
    with refused("a replacement of what is not there"):
        store.write_if("nothing", b"third", second)
    require(store.read("replaced") == b"second", "the refused bytes are there")
    return ""


def let_one_create(store: Store) -> str:
    """Of writers at once that create, exactly one succeeds."""
    return _race(store, "raced", None)


def let_one_replace(store: Store) -> str:
    """Of writers at once that replace, exactly one succeeds."""
    return _race(store, "replaced-at-once", store.write("replaced-at-once", b"before"))


def _race(store: Store, key: str, etag: str | None) -> str:
    def write_number(number: int) -> bool:
        try:
            store.write_if(key, f"writer {number}".encode(), etag)
        except StoreConflict:
            return False
        return True

    with ThreadPoolExecutor(WRITERS) as pool:
        results = list(pool.map(write_number, range(WRITERS)))
    won = [number for number, has_won in enumerate(results) if has_won]
    require(len(won) == 1, f"{len(won)} of {WRITERS} writers succeeded")
    seen = store.read(key)
    require(seen == f"writer {won[0]}".encode(), f"writer {won[0]} won, and {seen!r} is there")
    return f"{WRITERS} writers"


def list_at_once(store: Store) -> str:
    """What was written, replaced or deleted shows in the next listing."""
    for number in range(20):
        key = f"listed/{number}"
        etag = store.write(key, b"first")
        store.write(f"listed-beside/{number}", b"")
        seen = {entry.key: entry.etag for entry in store.list("listed")}
        require(seen.get(key) == etag, f"{key} is listed as {seen.get(key)} and not {etag}")
    etag = store.write("listed/0", b"second")
    seen = {entry.key: entry.etag for entry in store.list("listed")}
    require(seen["listed/0"] == etag, "the listing shows the ETag of the replaced object")
    require(len(seen) == 20, f"{len(seen)} objects are listed, and 20 were written")
    store.delete("listed")
    left = [entry.key for entry in store.list("listed")]
    require(not left, f"{len(left)} deleted objects are listed")
    beside = len(list(store.list("listed-beside")))
    require(beside == 20, f"{20 - beside} objects beside the deleted folder are gone")
    return ""


def list_many(store: Store) -> str:
    """A listing of several pages is complete and ordered by the bytes of the keys."""
    keys = [f"many/{number:04}" for number in range(MANY - 3)]
    keys += ["many/a b", "many/é", "many/z"]
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda key: store.write(key, b"x"), keys))
    seen = [entry.key for entry in store.list("many")]
    require(seen == sorted(keys, key=str.encode), f"{len(seen)} of {MANY} keys, or another order")
    require(store.delete("many") == MANY, "not all of them were deleted")
    return f"{MANY} keys"


def read_ranges(store: Store) -> str:
    """A read goes on from any byte, and only while the object is the same."""
    content = hashlib.sha256(b"range").digest() * 40_000
    etag = store.write("ranges", content)
    for start in (0, 1, 300_000, len(content) - 1):
        require(b"".join(store.stream("ranges", start, etag)) == content[start:], f"byte {start}")
    require(b"".join(store.stream("ranges", len(content))) == b"", "bytes after the end")
    store.write("ranges", content[::-1])
    with refused("a read under an old ETag"):
        b"".join(store.stream("ranges", 5, etag))
    return ""


def keep_etags(store: Store) -> str:
    """Writing, looking and listing show the same ETag and size."""
    etag = store.write("etags/one", b"content")
    head = store.head("etags/one")
    [listed] = store.list("etags")
    if head is None:
        raise Broken("HEAD finds nothing")
    require({etag, head.etag, listed.etag} == {etag}, f"{etag}, {head.etag}, {listed.etag}")
    require(head.size == listed.size == 7, f"{head.size} and {listed.size} bytes")
    is_md5 = etag == hashlib.md5(b"content", usedforsecurity=False).hexdigest()
    return "MD5" if is_md5 else "not the MD5"


def upload_in_parts(store: Store) -> str:
    """A large file arrives whole, in several parts, and has a checksum where one is known."""
    content = hashlib.sha256(b"large").digest() * (LARGE_BYTES // 32 + 1)
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        store.upload("large", Path(file.name))
    received = hashlib.sha256()
    for piece in store.stream("large"):
        received.update(piece)
    require(received.hexdigest() == hashlib.sha256(content).hexdigest(), "other bytes came back")
    known = store.checksum("large")
    if known is None:
        return "no checksum of the whole"
    computed = compute_checksum(io.BytesIO(content), known.algorithm)
    require(computed == known.hexadecimal, f"a wrong {known.algorithm}")
    return known.algorithm


def find_nothing(store: Store) -> str:
    """What is not there is told apart from a fault."""
    require(store.head("absent") is None, "HEAD finds something")
    require(store.delete("absent") == 0, "something was deleted")
    require(not list(store.list("absent")), "something is listed")
    return ""


def keep_keys_apart(store: Store) -> str:
    """Keys differ by each character and by case."""
    keys = ["keys/a", "keys/A", "keys/a b", "keys/a+b", "keys/a%20b", "keys/ä"]
    for key in keys:
        store.write(key, key.encode())
    for key in keys:
        require(store.read(key) == key.encode(), f"{key} has become another object")
    try:
        # Graft never does this. Of S3 it is true, and of servers that keep files it is not.
        store.write("keys/a/b", b"")
    except JobError:
        return "an object cannot be a folder too, which Graft does not need"
    return ""


def probe_passes(store: Store) -> str:
    """The probe at the start of each run passes, and leaves nothing."""
    child = store.child("probed")
    child.probe()
    require(not list(child.list()), "the probe left an object")
    return ""


PROMISES: tuple[Callable[[Store], str], ...] = (
    create_once,
    replace_expected,
    let_one_create,
    let_one_replace,
    list_at_once,
    list_many,
    read_ranges,
    keep_etags,
    upload_in_parts,
    find_nothing,
    keep_keys_apart,
    probe_passes,
)


def examine(store: Store) -> list[Finding]:
    """Ask a store for each promise, below a folder of its own that is removed afterwards."""
    place = store.child(f"graft-conformance-{uuid4().hex}")
    findings = []
    try:
        for ask in PROMISES:
            promise = (ask.__doc__ or "").partition(".")[0]
            try:
                findings.append(Finding(promise, holds=True, detail=ask(place)))
            except (Broken, JobError) as error:
                findings.append(Finding(promise, holds=False, detail=str(error)))
    finally:
        place.delete()
    return findings


def main() -> int:
    """Print a row for each promise. The exit code is 1 if one does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tools.torture.stores", description=__doc__)
    parser.add_argument("address", help="s3://bucket/prefix or file:///folder")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    options = parser.parse_args()
    findings = examine(storage.connect(options.address))
    held = sum(finding.holds for finding in findings)
    if options.json:
        print(json.dumps([[each.promise, each.holds, each.detail] for each in findings]))
    else:
        for each in findings:
            detail = f" ({each.detail})" if each.detail else ""
            print(f"{'yes' if each.holds else 'NO':<4}{each.promise}{detail}")
        print(f"{held} of {len(findings)} promises hold")
    return int(held < len(findings))


if __name__ == "__main__":
    sys.exit(main())

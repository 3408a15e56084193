"""Put a release into the store: files first, manifest last. Until then it does not exist, whatever lies there."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from job import files
from job.errors import ReleaseError, StoreConflict, TemporaryError
from job.publish import manifest as manifests
from job.publish.manifest import Manifest
from job.storage import Store

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger(__name__)

ATTEMPTS = 5
CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Release:
    """A release that exists.

    Attributes:
        store: rooted at the release.
        manifest: the one that counts; of another run if that came first.
        ours: whether this call wrote it.
    """

    store: Store
    manifest: Manifest
    ours: bool

    @property
    def uri(self) -> str:
        return self.store.uri


def folder_of(run_id: str) -> str:
    """Where a release lies below its model."""
    return f"releases/{run_id}"


def find(model: Store, run_id: str) -> Manifest | None:
    """The manifest of a run's release, or None if there is no valid one."""
    return _existing(model.child(folder_of(run_id)))[0]


def release(folder: Path, fields: Mapping[str, Any], model: Store) -> Release:
    """Upload every file of a folder, then the manifest; whoever writes that first has made the release.

    Args:
        folder: the files of the release, without a manifest.
        fields: the manifest's fields but for `schema` and `files`; `fields["run_id"]` names the
            release.
        model: the model's store.

    Raises:
        ReleaseError: a field of the manifest is missing.
        TemporaryError: other runs kept overwriting this release.
    """
    store = model.child(folder_of(fields["run_id"]))
    paths = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    paths.pop(manifests.NAME, None)
    ours = Manifest.compose(
        fields, {name: _describe(path) for name, path in paths.items() if _promised(name)}
    )
    for _ in range(ATTEMPTS):
        first, etag = _existing(store)
        if first and not _overwritten(store, first, ours):
            return _keep(store, first, ours)
        _upload(store, paths)
        try:
            store.write_if(manifests.NAME, ours.raw, etag)
        except StoreConflict:
            logger.info(
                "Another run wrote the manifest of this release first.",
                extra={"fields": {"release": store.uri}},
            )
        else:
            return Release(store, ours, ours=True)
    raise TemporaryError(
        f"{store.uri} was overwritten {ATTEMPTS} times by other runs.",
        "Run again when they have ended.",
    )


def _existing(store: Store) -> tuple[Manifest | None, str | None]:
    """The valid manifest, if any, and the etag of whatever lies in its place.

    The etag is read first: if the content changes in between, a write with it loses, and nothing
    else happens.
    """
    entry = store.head(manifests.NAME)
    if entry is None:
        return None, None
    try:
        return Manifest.parse(store.read(manifests.NAME), store.uri), entry.etag
    except ReleaseError as error:
        logger.warning("A manifest is not valid, so its release does not exist: %s", error)
        return None, entry.etag


def _overwritten(store: Store, first: Manifest, ours: Manifest) -> bool:
    """Whether our own uploads have damaged the release that came first.

    Two runs of one id at once write the same names. On one kind of CPU the bytes are equal too, on
    GPUs perhaps not.
    """
    return any(
        ours.files.get(name) != expected
        and store.head(name) is not None
        and digest(store.stream(name)) != expected["sha256"]
        for name, expected in first.files.items()
    )


def _keep(store: Store, first: Manifest, ours: Manifest) -> Release:
    same = (
        "with the same files"
        if first.files == ours.files
        else "with other files; it came first and is kept"
    )
    logger.info("The release exists already, %s.", same, extra={"fields": {"release": store.uri}})
    return Release(store, first, ours=False)


def _upload(store: Store, paths: Mapping[str, Path]) -> None:
    """Upload in parallel, and remove what an earlier attempt left under other names."""
    in_parallel(lambda name: store.upload(name, paths[name]), paths)
    for entry in list(store.list()):
        if entry.key not in paths and entry.key != manifests.NAME and _promised(entry.key):
            store.delete(entry.key)


def _promised(name: str) -> bool:
    return not name.startswith(manifests.LOGS)


def _describe(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": files.sha256(path)}


def digest(chunks: Iterator[bytes]) -> str:
    """SHA-256 of a stream, as 64 hex digits."""
    sha256 = hashlib.sha256()
    for chunk in chunks:
        sha256.update(chunk)
    return sha256.hexdigest()


def in_parallel(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Call a function that waits for the store on each item; on the first error, or SIGTERM, the rest is not begun."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        try:
            return list(pool.map(function, items))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise

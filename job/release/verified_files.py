"""The files of a release, held to the SHA-256 that its manifest promises."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from job import files
from job.errors import ReleaseError
from job.release.manifest import Manifest
from job.release.parallel import in_parallel
from job.storage import Store, download


def download_verified(store: Store, manifest: Manifest, part: str, cache: Path) -> Path:
    """Download one file of a release, or everything in its folder `part`, and verify it.

    What is in the cache already is verified, and downloaded again only if it is damaged.

    Returns:
        the local file or folder.

    Raises:
        ReleaseError: a file is missing or damaged in the store, or the release has no such part.
    """
    names = [name for name in manifest.files if name == part or name.startswith(f"{part}/")]
    if not names:
        raise ReleaseError(
            f"{store.uri} has no {part}.", "Export it: add it to GRAFT_EXPORT_FORMATS."
        )
    # Named by content: two releases of one run id, such as in two buckets, share nothing.
    folder = cache / "releases" / manifest.sha256

    def download_file(name: str) -> None:
        _download_file(store, name, manifest.files[name], folder / name)

    in_parallel(download_file, names)
    return folder / part


def hash_object(store: Store, name: str) -> str:
    """SHA-256 of an object in a store, as 64 hexadecimal digits."""
    sha256 = hashlib.sha256()
    for chunk in store.stream(name):
        sha256.update(chunk)
    return sha256.hexdigest()


def _download_file(store: Store, name: str, promised: Mapping[str, Any], path: Path) -> None:
    expected = promised["sha256"]
    if path.is_file() and files.sha256(path) == expected:
        return
    entry = store.head(name)
    if entry is None:
        raise _damaged_release(store, f"{name} is missing")
    # Before the download: another size may fill the disk.
    if entry.size != promised["bytes"]:
        problem = f"{name} has {entry.size} bytes, and its manifest promises {promised['bytes']}"
        raise _damaged_release(store, problem)
    path.parent.mkdir(parents=True, exist_ok=True)
    download(store, name, path, entry)
    received = files.sha256(path)
    if received != expected:
        # Another process may look into the cache before the next download, or do the same.
        path.unlink(missing_ok=True)
        raise _damaged_release(
            store, f"{name} has sha256 {received}, and its manifest promises {expected}"
        )


def _damaged_release(store: Store, problem: str) -> ReleaseError:
    return ReleaseError(
        f"{store.uri} is damaged: {problem}.", "Promote an intact release: graft promote RELEASE."
    )

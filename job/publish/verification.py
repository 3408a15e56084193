"""Whether a release holds what its manifest promises: `graft verify RELEASE` reads every byte."""

from dataclasses import dataclass

from job.errors import ReleaseError, StoreNotFound
from job.plurals import format_count
from job.release import Manifest, hash_object, in_parallel, is_promised, open_release, read_manifest
from job.storage import Store


@dataclass(frozen=True, slots=True)
class VerifiedRelease:
    """A release that holds exactly what its manifest promises.

    Attributes:
        store: rooted at the release.
        manifest: its manifest.
        bytes: size of all its files.
    """

    store: Store
    manifest: Manifest
    bytes: int


def verify(release: str | Store) -> VerifiedRelease:
    """Check the manifest, and each file's presence, size and SHA-256.

    Files below `logs/` are not checked: the manifest promises nothing about them.

    Args:
        release: a store rooted at a release, or the URI of one, or of a registry or its
            promoted.json, which mean the champion.

    Raises:
        ReleaseError: there is no release, or it differs from its manifest. Every problem is listed.
    """
    if isinstance(release, str):
        store, manifest = open_release(release)
    else:
        store, manifest = release, read_manifest(release)

    found = in_parallel(lambda name: _find_file_problem(store, manifest, name), manifest.files)
    problems = list(filter(None, found))
    # A file that nobody promised may be loaded by a server that lists the folder.
    for entry in store.list():
        if is_promised(entry.key) and entry.key not in manifest.files:
            problems.append(f"{entry.key} is not in the manifest")
    if problems:
        raise ReleaseError(
            f"{store.uri} differs from its manifest in {format_count(len(problems), 'place')}:",
            "Do not use it: promote another release, or delete this one and run again.",
            tuple(sorted(problems)),
        )
    total_bytes = sum(file["bytes"] for file in manifest.files.values())
    return VerifiedRelease(store, manifest, total_bytes)


def _find_file_problem(store: Store, manifest: Manifest, name: str) -> str:
    """What is wrong with a file that the manifest names. Empty if nothing is."""
    expected = manifest.files[name]
    entry = store.head(name)
    if entry is None:
        return f"{name} is missing"
    # The size costs one request, and the hash a download: a wrong size ends the check early.
    if entry.size != expected["bytes"]:
        return f"{name} has {entry.size} bytes, expected {expected['bytes']}"
    # Twice, because a byte may have changed on its way here and not in the store.
    for _ in range(2):
        try:
            received = hash_object(store, name)
        except StoreNotFound:
            return f"{name} is missing: it was deleted while it was verified"
        if received == expected["sha256"]:
            return ""
    return f"{name} has sha256 {received}, expected {expected['sha256']}"

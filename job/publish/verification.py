"""Whether a release holds what its manifest promises: `graft verify RELEASE` reads every byte."""

from dataclasses import dataclass

from job.errors import ReleaseError
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
    problems = [problem for problem in found if problem]
    names = {entry.key for entry in store.list() if is_promised(entry.key)}
    problems += [f"{name} is not in the manifest" for name in names - set(manifest.files)]
    if problems:
        raise ReleaseError(
            f"{store.uri} differs from its manifest in {len(problems)} places:",
            "Do not use it: promote another release, or delete this one and run again.",
            tuple(sorted(problems)),
        )
    return VerifiedRelease(store, manifest, sum(file["bytes"] for file in manifest.files.values()))


def _find_file_problem(store: Store, manifest: Manifest, name: str) -> str:
    """What is wrong with a file that the manifest names. Empty if nothing is."""
    expected, entry = manifest.files[name], store.head(name)
    if entry is None:
        return f"{name} is missing"
    if entry.size != expected["bytes"]:
        return f"{name} has {entry.size} bytes, expected {expected['bytes']}"
    received = hash_object(store, name)
    if received != expected["sha256"]:
        return f"{name} has sha256 {received}, expected {expected['sha256']}"
    return ""

"""Does a release hold what its manifest says? Every byte is read."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from job.errors import ReleaseError
from job.publish import manifest as manifests
from job.publish.manifest import SCHEMA, Manifest
from job.publish.releasing import digest, folder_of, in_parallel
from job.storage import Store, connect

POINTER = "promoted.json"


@dataclass(frozen=True, slots=True)
class Verified:
    """A release that holds exactly what its manifest says.

    Attributes:
        store: rooted at the release.
        manifest: its manifest.
        bytes: size of all its files.
    """

    store: Store
    manifest: Manifest
    bytes: int


def verify(release: str | Store) -> Verified:
    """Check the manifest, and each file's presence, size and SHA-256. Files under logs/ promise nothing.

    Args:
        release: the URI of a release or of a model (its champion), or a store rooted at a release.

    Raises:
        ReleaseError: there is no release, or it differs from its manifest; every problem is listed.
    """
    store, manifest = (
        open_release(release) if isinstance(release, str) else (release, read_manifest(release))
    )
    problems = list(
        filter(None, in_parallel(lambda name: _file_problem(store, manifest, name), manifest.files))
    )
    problems += [f"{name} is not in the manifest" for name in _extra(store, manifest)]
    if problems:
        raise ReleaseError(
            f"{store.uri} differs from its manifest in {len(problems)} places:",
            "Do not use it: promote another release, or delete this one and run again.",
            tuple(sorted(problems)),
        )
    return Verified(store, manifest, sum(entry["bytes"] for entry in manifest.files.values()))


def open_release(uri: str) -> tuple[Store, Manifest]:
    """The store and the manifest of a release, given its own URI or that of its model, which means its champion.

    Raises:
        ReleaseError: neither lies there, or the manifest is not the valid one that the pointer
        means.
    """
    store = connect(uri)
    if store.head(manifests.NAME):
        return store, read_manifest(store)
    if not store.head(POINTER):
        raise ReleaseError(
            f"{uri} is neither a release (no {manifests.NAME}) nor a model with a champion (no {POINTER}).",
            "Give <output uri>/<name> or <output uri>/<name>/releases/<run id>.",
        )
    return follow(store, store.read(POINTER))


def follow(model: Store, raw: bytes) -> tuple[Store, Manifest]:
    """The store and the manifest of the release that the content of promoted.json names.

    Raises:
        ReleaseError: the pointer is not one of ours, or there is no such release.
    """
    pointer = parse_pointer(raw, model.uri)
    store = model.child(pointer["release"])
    manifest = read_manifest(store)
    if manifest.sha256 != pointer["manifest_sha256"]:
        raise ReleaseError(
            f"{store.uri} has another {manifests.NAME} (sha256 {manifest.sha256}) than {POINTER} expects.",
            "Promote an intact release: graft promote RELEASE.",
        )
    return store, manifest


def parse_pointer(raw: bytes, where: str) -> dict[str, Any]:
    """Read promoted.json; `where` names it in errors.

    Raises:
        ReleaseError: it is not one of ours.
    """
    try:
        pointer: dict[str, Any] = json.loads(raw)
        if pointer["schema"] != SCHEMA or pointer["release"] != folder_of(pointer["run_id"]):
            raise ValueError(f"schema {pointer['schema']!r}, release {pointer['release']!r}")
        str.lower(pointer["manifest_sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise ReleaseError(
            f"{POINTER} of {where} is not valid: {error!r}.",
            "Promote a release by hand: graft promote RELEASE.",
        ) from error
    return pointer


def read_manifest(store: Store) -> Manifest:
    """The manifest of a release.

    Raises:
        ReleaseError: it is missing or not valid.
    """
    if store.head(manifests.NAME) is None:
        raise ReleaseError(
            f"{store.uri} has no {manifests.NAME}, so it is no release.",
            "Run again: a release is finished by its manifest.",
        )
    return Manifest.parse(store.read(manifests.NAME), store.uri)


def _file_problem(store: Store, manifest: Manifest, name: str) -> str:
    expected, entry = manifest.files[name], store.head(name)
    if entry is None:
        return f"{name} is missing"
    if entry.size != expected["bytes"]:
        return f"{name} has {entry.size} bytes, expected {expected['bytes']}"
    received = digest(store.stream(name))
    return (
        ""
        if received == expected["sha256"]
        else f"{name} has sha256 {received}, expected {expected['sha256']}"
    )


def _extra(store: Store, manifest: Manifest) -> Iterator[str]:
    for entry in store.list():
        if (
            entry.key not in manifest.files
            and entry.key != manifests.NAME
            and not entry.key.startswith(manifests.LOGS)
        ):
            yield entry.key

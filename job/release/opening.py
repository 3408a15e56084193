"""Find a release by its URI, and read the manifest that makes it one."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from job.errors import ReleaseError, ReleaseNotFound, StoreNotFound
from job.release.manifest import MANIFEST, Manifest
from job.release.pointer import POINTER, parse_pointer
from job.storage import Store, connect
from job.strict_json import MOST_BYTES


def open_release(uri: str) -> tuple[Store, Manifest]:
    """The store and the manifest of the release that a URI means.

    Args:
        uri: a release's own folder, or a registry or its promoted.json, which mean the champion.

    Raises:
        ReleaseNotFound: there is no release.
        ReleaseError: its manifest is not valid, or not the one that the pointer names.
    """
    parent, _, name = uri.rstrip("/").rpartition("/")
    store = connect(parent if name == POINTER else uri)
    # Only a release has a manifest in its own folder, so this tells it from a registry.
    if store.head(MANIFEST):
        return store, read_manifest(store)
    if store.head(POINTER) is None:
        raise ReleaseNotFound(
            f"{uri} is neither a release (no {MANIFEST}) "
            f"nor a registry with a champion (no {POINTER}).",
            f"Give a model, such as {store.child('model').uri}, or one of its releases, such as "
            "<output uri>/<name>/releases/<run id>.",
        )
    return follow_pointer(store, parse_pointer(read_bounded(store, POINTER), store.uri))


def follow_pointer(registry: Store, pointer: Mapping[str, Any]) -> tuple[Store, Manifest]:
    """The store and the manifest of the champion.

    Args:
        registry: the store that holds the pointer.
        pointer: what `parse_pointer` returned.

    Raises:
        ReleaseError: there is no such release, or it has another manifest.
    """
    store = registry.child(pointer["release"])
    manifest = read_manifest(store)
    # The pointer holds the hash, so that a release that was rewritten since is not taken for it.
    if manifest.sha256 != pointer["manifest_sha256"]:
        raise ReleaseError(
            f"{store.uri} has another {MANIFEST} (sha256 {manifest.sha256}) "
            f"than {POINTER} expects ({pointer['manifest_sha256']}).",
            "Promote an intact release: graft promote RELEASE.",
        )
    return store, manifest


def read_manifest(store: Store) -> Manifest:
    """The manifest of the release that `store` is rooted at.

    Raises:
        ReleaseError: it is missing or not valid.
    """
    raw = None
    # It may be deleted between the two.
    with suppress(StoreNotFound):
        raw = read_bounded(store, MANIFEST) if store.head(MANIFEST) else None
    if raw is None:
        raise ReleaseError(
            f"{store.uri} has no {MANIFEST}, so it is not a release.",
            "Run again: a release is finished by its manifest.",
        )
    return Manifest.parse(raw, store.uri)


def read_bounded(store: Store, key: str, etag: str = "") -> bytes:
    """The content of a manifest or a pointer, in the version of an ETag if one is given.

    Raises:
        ReleaseError: it is far larger than what Graft writes.
        StoreConflict: it has another ETag.
        StoreNotFound: there is none.
    """
    # While it comes, because the size in a listing may be another one.
    content = store.read(key, MOST_BYTES + 1, etag)
    if len(content) > MOST_BYTES:
        raise ReleaseError(
            f"{store.uri}/{key} has more than {MOST_BYTES:,} bytes; expected a small file.",
            "Promote an intact release: graft promote RELEASE.",
        )
    return content

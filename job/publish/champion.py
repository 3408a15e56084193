"""The champion: what promoted.json names, and the one conditional write that changes it."""

import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from job.errors import ReleaseError, StoreConflict, StoreNotFound, TemporaryError
from job.publish.releasing import ATTEMPTS
from job.release import (
    MANIFEST,
    POINTER,
    SCHEMA,
    Manifest,
    folder_of,
    follow_pointer,
    parse_pointer,
    read_bounded,
)
from job.storage import Store

logger = logging.getLogger(__name__)

MANUAL = "manual"


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """What promoted.json names.

    Attributes:
        pointer: its content. Empty if it is not valid.
        pointer_sha256: SHA-256 of its bytes. No two choices by hand have the same one.
        etag: its version, for the conditional write.
        store: rooted at the champion's release. None if there is no such release.
        manifest: the champion's. None if there is no such release.
        damage: why there is no such release, else empty.
    """

    pointer: Mapping[str, Any]
    pointer_sha256: str
    etag: str
    store: Store | None
    manifest: Manifest | None
    damage: str = ""

    @property
    def sha256(self) -> str | None:
        """SHA-256 of the manifest that the pointer names."""
        return self.pointer.get("manifest_sha256")

    @property
    def chosen_by_hand(self) -> bool:
        """Whether a person chose it with `graft promote`."""
        return self.pointer.get("by") == MANUAL


def read_champion(registry: Store) -> Champion | None:
    """The present champion, or None before the first promotion.

    A damaged champion is returned with its damage.

    Raises:
        TemporaryError: others kept changing it.
    """
    for _ in range(ATTEMPTS):
        entry = registry.head(POINTER)
        if entry is None:
            return None
        try:
            return _read_version(registry, entry.etag)
        except StoreConflict:
            logger.info("The champion changed while it was read: reading again.")
    raise TemporaryError(
        f"The champion of {registry.uri} changed {ATTEMPTS} times while it was read.",
        "Run again when other runs have ended.",
    )


def _read_version(registry: Store, etag: str) -> Champion | None:
    """The champion by the pointer with this ETag.

    Exactly that one: a pointer that is taken back has its old content again, and its old ETag.

    Raises:
        StoreConflict: the pointer has another ETag by now.
    """
    raw = b""
    pointer: Mapping[str, Any] = {}
    store, manifest, damage = None, None, ""
    try:
        raw = read_bounded(registry, POINTER, etag)
        pointer = parse_pointer(raw, registry.uri)
        store, manifest = follow_pointer(registry, pointer)
    except StoreNotFound:
        # It or its manifest was deleted since. A conditional write notices if it is still there.
        return None
    except ReleaseError as error:
        logger.warning("The champion is damaged: %s", error)
        damage = error.message

    return Champion(
        pointer=pointer,
        pointer_sha256=hashlib.sha256(raw).hexdigest(),
        etag=etag,
        store=store,
        manifest=manifest,
        damage=damage,
    )


def is_champion(manifest: Manifest, champion: Champion | None) -> bool:
    """Whether the pointer names exactly this manifest."""
    return champion is not None and champion.sha256 == manifest.sha256


def is_replaced(manifest: Manifest, champion: Champion | None) -> bool:
    """Whether the champion has taken the place of exactly this manifest."""
    previous = champion.pointer.get("previous") if champion else None
    return previous is not None and previous["manifest_sha256"] == manifest.sha256


def write_pointer(
    registry: Store, manifest: Manifest, promotion: Mapping[str, Any], champion: Champion | None
) -> None:
    """Make a release the champion, if the present champion is still the given one.

    If the release was deleted in the meantime, the pointer names the given champion again.

    Args:
        registry: the store that holds the pointer.
        manifest: of the release.
        promotion: `by`, `reason` and `comparison`, and for a choice by hand its unique `choice`
            and, after a roll-back, `rolled_back_from`.
        champion: the champion that this was decided against. None if there was none.

    Raises:
        StoreConflict: the pointer has changed since.
        ReleaseError: the release was deleted.
    """
    previous = None
    if champion and is_champion(manifest, champion):
        # Chosen again by hand: the champion before it stays the one to go back to.
        previous = champion.pointer.get("previous")
    elif champion and champion.pointer:
        previous = {name: champion.pointer[name] for name in ("run_id", "manifest_sha256")}
    pointer = {
        "schema": SCHEMA,
        "run_id": manifest.run_id,
        "manifest_sha256": manifest.sha256,
        "release": folder_of(manifest.run_id),
        "by": promotion["by"],
        "reason": promotion["reason"],
        "comparison": promotion["comparison"],
        "previous": previous,
    }
    # Of a choice by hand. `choice` is unique: the same release chosen once more is another pointer.
    for name in ("choice", "rolled_back_from"):
        if name in promotion:
            pointer[name] = promotion[name]
    etag = registry.write_if(POINTER, _format_pointer(pointer), champion.etag if champion else None)
    # A deletion removes the manifest and then looks at the pointer. So one of the two sees the
    # other, and a release that is named when a deletion looks gets its manifest back.
    store = registry.child(folder_of(manifest.run_id))
    if store.head(MANIFEST) is None:
        _restore_pointer(registry, champion, etag)
        raise ReleaseError(
            f"{store.uri} was deleted while it was promoted.", "Promote another release."
        )
    fields = {"run_id": manifest.run_id, "by": promotion["by"]}
    logger.info("%s names this release now.", POINTER, extra={"fields": fields})


def _format_pointer(pointer: Mapping[str, Any]) -> bytes:
    return json.dumps(pointer, indent=2, ensure_ascii=False).encode() + b"\n"


def _restore_pointer(registry: Store, champion: Champion | None, etag: str) -> None:
    """Let the pointer name what was promoted before, unless it has changed again."""
    # Before the first champion there was no pointer, and nothing deletes one under a condition.
    if champion is None or not champion.pointer:
        return
    pointer = champion.pointer
    # Somebody else may have promoted a deleted release, which this promotion then read. To put
    # that one back would leave the pointer at nothing.
    if registry.child(pointer["release"]).head(MANIFEST) is None:
        before = _rebuild_previous(registry, pointer)
        if before is None:
            return
        pointer = before
    with suppress(StoreConflict):
        registry.write_if(POINTER, _format_pointer(pointer), etag)


def _rebuild_previous(registry: Store, pointer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """A pointer to the champion before, as if chosen by hand. None if it is gone too.

    A person may have chosen it: that is lost with the pointer that was overwritten. And it must be
    no pointer that there was before, or a release that once won against that one would be promoted
    again by the next night.
    """
    previous = pointer.get("previous")
    if not previous:
        return None
    named = {"schema": SCHEMA, **previous, "release": folder_of(previous["run_id"])}
    try:
        follow_pointer(registry, parse_pointer(_format_pointer(named), registry.uri))
    except ReleaseError:
        return None
    return {
        **named,
        "by": MANUAL,
        "reason": "The champion after it was deleted.",
        "comparison": None,
        "previous": None,
        "choice": uuid4().hex,
    }

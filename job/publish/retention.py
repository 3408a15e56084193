"""Delete old releases: `graft prune MODEL`, and GRAFT_OUTPUT_KEEP at the end of a run."""

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from job.errors import ReleaseNotFound, StoreConflict
from job.plurals import format_count
from job.publish.champion import read_champion
from job.publish.history import read_history
from job.publish.promotion import is_promotion_due
from job.publish.versions import follow_champion, prune_versions
from job.release import MANIFEST, POINTER, Manifest, folder_of, parse_pointer, read_bounded
from job.storage import Store

logger = logging.getLogger(__name__)

# Seconds after which a folder without a manifest is what a killed run or a killed deletion has
# left. An upload takes minutes.
ABANDONED_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Retention:
    """What becomes of one release.

    Attributes:
        manifest: of the release.
        kept: why it is kept, in a few words. Empty if it is deleted.
    """

    manifest: Manifest
    kept: str


def plan_retention(registry: Store, keep: int) -> list[Retention]:
    """Return for each release whether it is kept, newest first.

    Kept are the newest `keep` releases, the champion and the one before it, what the decisions of
    all of these name, a release whose promotion was cut off, and one whose run is at work again.

    Args:
        registry: where the releases are.
        keep: how many of the newest are kept at least, from 1 on.

    Raises:
        ReleaseNotFound: there is none.
        ReleaseError: promoted.json is not valid, so the champion is not known.
    """
    manifests = list(read_history(registry))
    if not manifests:
        raise ReleaseNotFound(
            f"{registry.uri} has no releases.", "Give the model: <output uri>/<name>."
        )
    pointed_at = _read_pointed_at(registry)
    champion = read_champion(registry)

    deciding = manifests[:keep]
    if champion and champion.manifest:
        deciding.append(champion.manifest)
    # By the SHA-256 of their manifests: the champions that these were compared with.
    compared = {manifest.previous for manifest in deciding}

    plan = []
    for number, manifest in enumerate(manifests):
        kept = ""
        if manifest.run_id in pointed_at:
            kept = pointed_at[manifest.run_id]
        elif number < keep:
            kept = "new"
        elif manifest.sha256 in compared:
            kept = "named by a decision"
        elif is_promotion_due(manifest, champion):
            kept = "to be promoted"
        elif _has_run(registry, manifest.run_id):
            kept = "its run is at work"
        plan.append(Retention(manifest, kept))
    return plan


def prune(registry: Store, keep: int) -> list[Retention]:
    """Delete the releases that `plan_retention` does not keep, and what killed runs have left.

    The manifest of a release goes first, so no reader takes a half-deleted one for a release. Its
    files go in the same call if they are older than a day, else in a later one. Of the versions for
    servers the newest `keep` stay.

    Returns:
        the plan as it was carried out.

    Raises:
        ReleaseNotFound: there is none.
        ReleaseError: promoted.json is not valid, so the champion is not known. Or a file of the
            champion is missing.
    """
    carried_out = []
    for retention in plan_retention(registry, keep):
        manifest, kept = retention.manifest, retention.kept
        if not kept and not _delete_release(registry, manifest):
            kept = "promoted in the meantime"
            # Whoever promoted it may have found no manifest, and so no version for servers.
            follow_champion(registry)
        carried_out.append(Retention(manifest, kept))
    for run_id in _find_abandoned(registry):
        registry.delete(folder_of(run_id))
    prune_versions(registry, keep)
    deleted = sum(not retention.kept for retention in carried_out)
    if deleted:
        counted = format_count(deleted, "old release was", "old releases were")
        logger.info("%s deleted.", counted, extra={"fields": {"keep": keep}})
    return carried_out


def _delete_release(registry: Store, manifest: Manifest) -> bool:
    """Delete one release. It stays if the pointer has come to name it, which is False."""
    store = registry.child(folder_of(manifest.run_id))
    store.delete(MANIFEST)
    # `graft promote` writes the pointer and then looks for the manifest, and this is the other way
    # round. So at least one of the two sees the other.
    if manifest.run_id in _read_pointed_at(registry):
        # Another deletion of it may have put it back already.
        with suppress(StoreConflict):
            store.write_if(MANIFEST, manifest.raw, None)
        return False
    # Another attempt of its run may be about to write the manifest once more. So its files go as
    # those of any folder without a manifest do, once they are old.
    return True


def _read_pointed_at(registry: Store) -> Mapping[str, str]:
    """Return the run ids that promoted.json names, each with what it is.

    Raises:
        ReleaseError: it is not valid.
    """
    if registry.head(POINTER) is None:
        return {}
    pointer = parse_pointer(read_bounded(registry, POINTER), registry.uri)
    pointed_at = {}
    if previous := pointer.get("previous"):
        pointed_at[str(previous.get("run_id"))] = "the champion before"
    pointed_at[str(pointer["run_id"])] = "champion"
    return pointed_at


def _has_run(registry: Store, run_id: str) -> bool:
    """Return whether there is a checkpoint or anything else of a run that has not ended."""
    return next(iter(registry.list(f"runs/{run_id}")), None) is not None


def _find_abandoned(registry: Store) -> list[str]:
    """Return the run ids of old folders without a manifest."""
    newest: dict[str, float] = {}
    finished = set()
    for entry in registry.list("releases"):
        _, run_id, name = entry.key.split("/", 2)
        newest[run_id] = max(newest.get(run_id, 0.0), entry.modified)
        if name == MANIFEST:
            finished.add(run_id)
    oldest_upload = time.time() - ABANDONED_SECONDS
    abandoned = []
    for run_id, modified in newest.items():
        is_old = modified < oldest_upload and run_id not in finished
        if is_old and not _has_run(registry, run_id):
            abandoned.append(run_id)
    return abandoned

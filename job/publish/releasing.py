"""Write a release into its registry. The manifest comes last: until then there is no release."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from job import files
from job.errors import StoreConflict, TemporaryError
from job.publish.claim import (
    CLAIM,
    Claim,
    copy_staged,
    finish_claim,
    read_claim,
    read_existing,
)
from job.release import MANIFEST, Manifest, folder_of, in_parallel, is_promised
from job.storage import Store

logger = logging.getLogger(__name__)

# How often a lost race for a claim or a pointer is run again.
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Release:
    """A release that exists.

    Attributes:
        store: rooted at the release.
        manifest: the one that counts. It is another run's if that came first.
        ours: whether it is the manifest of this call.
    """

    store: Store
    manifest: Manifest
    ours: bool

    @property
    def uri(self) -> str:
        return self.store.uri


def find(registry: Store, run_id: str) -> Manifest | None:
    """The manifest of a run's release, or None if there is no valid one."""
    manifest, _ = read_existing(registry.child(folder_of(run_id)))
    return manifest


def complete(registry: Store, run_id: str) -> Manifest | None:
    """The manifest of a run's release, which is finished first if it was cut off.

    Returns:
        None if no attempt has come so far that another one could go on with its files.
    """
    manifest, _ = _settle_claim(registry, run_id)
    return manifest


def release(folder: Path, fields: Mapping[str, Any], registry: Store) -> Release:
    """Upload every file of a folder, then the manifest. The first run to claim it has released.

    Args:
        folder: the files of the release, without a manifest.
        fields: the manifest's fields but for `schema` and `files`. `fields["run_id"]` names the
            release.
        registry: the store that the release is written into.

    Raises:
        ReleaseError: a field of the manifest is missing.
        TemporaryError: other runs kept changing this release.
    """
    store = registry.child(folder_of(fields["run_id"]))
    paths, described = {}, {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or name in (MANIFEST, CLAIM):
            continue
        paths[name] = path
        if is_promised(name):
            described[name] = {"bytes": path.stat().st_size, "sha256": files.sha256(path)}
    ours = Claim.compose(Manifest.compose(fields, described))

    staging = registry.child(ours.staging)

    for _ in range(ATTEMPTS):
        first, etag = _settle_claim(registry, ours.manifest.run_id)
        if first:
            return _describe_release(store, first, ours.manifest)
        in_parallel(lambda name: staging.upload(name, paths[name]), described)
        try:
            store.write_if(CLAIM, ours.raw, etag)
        except StoreConflict:
            logger.info("Another run claimed this release first: %s", store.uri)
            continue
        # From now on nobody writes other files under these names.
        in_parallel(lambda name: store.upload(name, paths[name]), paths)
        finish_claim(registry, ours)

    raise TemporaryError(
        f"{store.uri} was changed {ATTEMPTS} times by other runs.",
        "Run again when they have ended.",
    )


def _settle_claim(registry: Store, run_id: str) -> tuple[Manifest | None, str | None]:
    """The manifest of a run's release, finished if need be, and the ETag of a claim without hope.

    A claim is without hope if neither its staged files nor its manifest are there.
    """
    if found := find(registry, run_id):
        return found, None
    claim, etag = read_claim(registry.child(folder_of(run_id)))
    if claim and copy_staged(registry, claim):
        logger.info("A release that was cut off is finished: %s", run_id)
        finish_claim(registry, claim)
    # Staged files are swept after the manifest is written, so it is looked for after them.
    return find(registry, run_id), etag


def _describe_release(store: Store, first: Manifest, ours: Manifest) -> Release:
    if first.raw == ours.raw:
        return Release(store, first, ours=True)
    same = "with the same files"
    if first.files != ours.files:
        same = "with other files; it came first and is kept"
    logger.info("The release exists already, %s.", same, extra={"fields": {"release": store.uri}})
    return Release(store, first, ours=False)

"""Write a release into its registry. The manifest comes last: until then there is no release."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from job import files
from job.errors import ReleaseError, StoreConflict, TemporaryError
from job.release import (
    MANIFEST,
    Manifest,
    folder_of,
    hash_object,
    in_parallel,
    is_promised,
    read_bounded,
)
from job.storage import Store

logger = logging.getLogger(__name__)

# How often a lost race for a manifest or a pointer is run again.
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Release:
    """A release that exists.

    Attributes:
        store: rooted at the release.
        manifest: the one that counts. It is another run's if that came first.
        ours: whether this call wrote it.
    """

    store: Store
    manifest: Manifest
    ours: bool

    @property
    def uri(self) -> str:
        return self.store.uri


def find(registry: Store, run_id: str) -> Manifest | None:
    """The manifest of a run's release, or None if there is no valid one."""
    manifest, _ = _read_existing(registry.child(folder_of(run_id)))
    return manifest


def release(folder: Path, fields: Mapping[str, Any], registry: Store) -> Release:
    """Upload every file of a folder, then the manifest. The first run to write that has released.

    Args:
        folder: the files of the release, without a manifest.
        fields: the manifest's fields but for `schema` and `files`. `fields["run_id"]` names the
            release.
        registry: the store that the release is written into.

    Raises:
        ReleaseError: a field of the manifest is missing.
        TemporaryError: other runs kept overwriting this release.
    """
    store = registry.child(folder_of(fields["run_id"]))
    paths, described = {}, {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or name == MANIFEST:
            continue
        paths[name] = path
        if is_promised(name):
            described[name] = {"bytes": path.stat().st_size, "sha256": files.sha256(path)}
    ours = Manifest.compose(fields, described)

    for _ in range(ATTEMPTS):
        first, etag = _read_existing(store)
        if first and not _is_overwritten(store, first, ours):
            same = (
                "with the same files"
                if first.files == ours.files
                else "with other files; it came first and is kept"
            )
            logger.info(
                "The release exists already, %s.", same, extra={"fields": {"release": store.uri}}
            )
            return Release(store, first, ours=False)

        in_parallel(lambda name: store.upload(name, paths[name]), paths)
        # What an earlier attempt left under other names. The whole list first: a store need not
        # list well what is deleted meanwhile.
        for entry in list(store.list()):
            if entry.key not in paths and is_promised(entry.key):
                store.delete(entry.key)
        try:
            store.write_if(MANIFEST, ours.raw, etag)
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


def _read_existing(store: Store) -> tuple[Manifest | None, str | None]:
    """The valid manifest, if any, and the etag of the object that is there instead of one."""
    # The etag first: if the content changes in between, a write with it fails, and nothing else
    # happens.
    entry = store.head(MANIFEST)
    if entry is None:
        return None, None
    try:
        return Manifest.parse(read_bounded(store, MANIFEST), store.uri), entry.etag
    except ReleaseError as error:
        logger.warning("A manifest is not valid, so its release does not exist: %s", error)
        return None, entry.etag


def _is_overwritten(store: Store, first: Manifest, ours: Manifest) -> bool:
    """Whether our own uploads have damaged the release that came first.

    Two runs of one id at once write the same names. On one kind of CPU the bytes are equal too, on
    GPUs perhaps not.
    """
    for name, expected in first.files.items():
        # Equal bytes do no damage, and a file that is missing is not our upload's doing.
        if ours.files.get(name) == expected or store.head(name) is None:
            continue
        if hash_object(store, name) != expected["sha256"]:
            return True
    return False

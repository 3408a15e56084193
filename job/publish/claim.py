"""Which of several attempts of one run becomes its release, settled before a file has its name.

An attempt first stages its files under a name of its own. Then it claims the release by one
conditional write. Only the files of the attempt that holds the claim are ever written below
`releases/<run id>`, by whoever goes on with it, so they never mix with those of another attempt.

    runs/<run id>/attempts/<attempt>/…    the staged files, swept after the release
    releases/<run id>/logs/claim.json     the claim: it stays, for attempts that come late
"""

import json
import logging
import re
from dataclasses import dataclass
from typing import Self
from uuid import uuid4

from job import files, strict_json
from job.errors import ReleaseError, StoreConflict, StoreNotFound
from job.release import (
    LOGS,
    MANIFEST,
    SCHEMA,
    Manifest,
    folder_of,
    in_parallel,
    is_promised,
    read_bounded,
)
from job.storage import Store, download

logger = logging.getLogger(__name__)

# Among the logs, because the manifest promises nothing about them.
CLAIM = f"{LOGS}claim.json"
ATTEMPT = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a release will be.

    Attributes:
        attempt: names the staged files, as 32 hexadecimal digits.
        manifest: of the release.
    """

    attempt: str
    manifest: Manifest

    @classmethod
    def compose(cls, manifest: Manifest) -> Self:
        """The claim of a new attempt."""
        return cls(uuid4().hex, manifest)

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """The inverse of `raw`.

        Raises:
            ReleaseError: the content is not a claim.
        """
        try:
            fields = strict_json.parse(raw)
            attempt, text = fields["attempt"], fields["manifest"]
            # It becomes a part of a key.
            if fields["schema"] != SCHEMA or not ATTEMPT.fullmatch(attempt):
                raise ValueError(f"attempt {attempt!r}")
            return cls(attempt, Manifest.parse(text.encode(), CLAIM))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ReleaseError(f"{CLAIM} is not valid: {error!r}.") from error

    @property
    def raw(self) -> bytes:
        """As it is written."""
        text = self.manifest.raw.decode()
        fields = {"schema": SCHEMA, "attempt": self.attempt, "manifest": text}
        return json.dumps(fields, indent=2, ensure_ascii=False).encode() + b"\n"

    @property
    def staging(self) -> str:
        """The folder of the staged files, relative to the registry."""
        return f"{attempts_of(self.manifest.run_id)}/{self.attempt}"


def attempts_of(run_id: str) -> str:
    """The folder of all staged files of a run, relative to its registry."""
    return f"runs/{run_id}/attempts"


def read_existing(release: Store) -> tuple[Manifest | None, str | None]:
    """The valid manifest of a release, if any, and the ETag of the object that is there."""
    # The ETag first: if the content changes in between, a write with it fails, and nothing else
    # happens.
    entry = release.head(MANIFEST)
    if entry is None:
        return None, None
    try:
        return Manifest.parse(read_bounded(release, MANIFEST), release.uri), entry.etag
    except StoreNotFound:
        return None, None
    except ReleaseError as error:
        logger.warning("A manifest is not valid, so its release does not exist: %s", error)
        return None, entry.etag


def read_claim(release: Store) -> tuple[Claim | None, str | None]:
    """The valid claim of a release, if any, and the ETag of the object that is there."""
    entry = release.head(CLAIM)
    if entry is None:
        return None, None
    try:
        return Claim.parse(read_bounded(release, CLAIM)), entry.etag
    except StoreNotFound:
        return None, None
    except ReleaseError:
        return None, entry.etag


def copy_staged(registry: Store, claim: Claim) -> bool:
    """Give the staged files of a claim their names in the release.

    Returns:
        whether all of them were there. They are swept once the release has its manifest.
    """
    staging = registry.child(claim.staging)
    release = registry.child(folder_of(claim.manifest.run_id))

    with files.open_scratch() as scratch:

        def copy_file(name: str) -> bool:
            entry = staging.head(name)
            if entry is None:
                return False
            path = scratch / name
            try:
                download(staging, name, path, entry)
            except (StoreNotFound, StoreConflict):
                return False
            if files.sha256(path) != claim.manifest.files[name]["sha256"]:
                return False
            release.upload(name, path)
            return True

        return all(in_parallel(copy_file, claim.manifest.files))


def finish_claim(registry: Store, claim: Claim) -> None:
    """Write the manifest over a release whose files are there, and sweep what was staged.

    Any number of attempts may do this for one claim: they write the same bytes. A valid manifest
    stays.
    """
    release = registry.child(folder_of(claim.manifest.run_id))
    finished, etag = read_existing(release)
    if finished is None:
        # What an earlier version of Graft left under other names. The whole list first: a store
        # need not list well what is deleted meanwhile.
        for entry in list(release.list()):
            if is_promised(entry.key) and entry.key not in claim.manifest.files:
                release.delete(entry.key)
        try:
            release.write_if(MANIFEST, claim.manifest.raw, etag)
        except StoreConflict:
            # Another attempt has finished the claim. The caller reads what is there.
            return
    registry.delete(attempts_of(claim.manifest.run_id))

"""The earlier releases of a registry, each read once."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from job.errors import ReleaseError, StoreNotFound
from job.release import MANIFEST, Manifest, in_parallel, read_bounded
from job.storage import Store

logger = logging.getLogger(__name__)


class History:
    """The valid manifests of a registry, newest first. Each is read when it is first needed."""

    def __init__(self, registry: Store, written: Mapping[str, float]) -> None:
        """Nothing is read yet.

        Args:
            registry: where the releases are.
            written: when each manifest was written, as seconds since 1970, by its key.
        """
        self._registry = registry
        self._written = written
        self._keys = list(written)
        self._manifests: dict[str, Manifest | None] = {}

    def find_same(self, listing: str, settings: Mapping[str, Any], code: str) -> Manifest | None:
        """The newest release that a run of the same inputs would only repeat.

        Args:
            listing: digest of the data set's listing.
            settings: as written in the manifest.
            code: digest of the sources.
        """
        for manifest in self:
            if (
                manifest.fields["data"].get("listing") == listing
                and manifest.fields["settings"] == settings
                and manifest.fields["versions"].get("code") == code
            ):
                return manifest
        return None

    def find_latest(self, settings: Mapping[str, Any], code: str) -> tuple[Manifest, float] | None:
        """The newest release of the same settings and code, and when it was written.

        Args:
            settings: as written in the manifest.
            code: digest of the sources.
        """
        for key in self._keys:
            manifest = self._read_once(key)
            if (
                manifest
                and manifest.fields["settings"] == settings
                and manifest.fields["versions"].get("code") == code
            ):
                return manifest, self._written[key]
        return None

    def count_judged_on(self, test_digest: str) -> int:
        """How many releases were evaluated on the test split with this digest.

        With each of them, the choice of a champion fits that split a little more.
        """
        # All of them are needed here, so they are read at once.
        in_parallel(self._read_once, self._keys)
        count = 0
        for manifest in self:
            if manifest.fields["data"].get("test") == test_digest:
                count += 1
        return count

    def dated(self) -> Iterator[tuple[Manifest, float]]:
        """Each manifest, and when it was written."""
        in_parallel(self._read_once, self._keys)
        for key in self._keys:
            if manifest := self._read_once(key):
                yield manifest, self._written[key]

    def __iter__(self) -> Iterator[Manifest]:
        for key in self._keys:
            manifest = self._read_once(key)
            if manifest:
                yield manifest

    def _read_once(self, key: str) -> Manifest | None:
        if key not in self._manifests:
            try:
                self._manifests[key] = Manifest.parse(read_bounded(self._registry, key), key)
            except (ReleaseError, StoreNotFound) as error:
                logger.warning("%s is passed over: %s", key, error)
                self._manifests[key] = None
        return self._manifests[key]


def read_history(registry: Store) -> History:
    """List the releases of a registry, newest first."""
    entries = []
    for entry in registry.list("releases/"):
        match entry.key.split("/"):
            case ["releases", _, name] if name == MANIFEST:
                entries.append(entry)
    # S3 tells times in whole seconds, so equal times are ordered by key.
    entries.sort(key=lambda entry: (-entry.modified, entry.key))
    return History(registry, {entry.key: entry.modified for entry in entries})

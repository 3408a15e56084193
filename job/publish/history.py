"""What was released before, read once."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from job.errors import ReleaseError, StoreNotFound
from job.publish import manifest as manifests
from job.publish.manifest import Manifest
from job.publish.releasing import in_parallel
from job.storage import Store

logger = logging.getLogger(__name__)


class History:
    """The valid manifests of a model, newest first. Each is read when it is first asked for, and once."""

    def __init__(self, model: Store, keys: list[str]) -> None:
        self._model = model
        self._keys = keys
        self._read: dict[str, Manifest | None] = {}

    def seen(self, listing: str, settings: Mapping[str, Any], code: str) -> Manifest | None:
        """The newest release of the same listing, settings as written and code: nothing would come out differently."""
        for manifest in self:
            data, versions = manifest.fields["data"], manifest.fields["versions"]
            if (data.get("listing"), manifest.fields["settings"], versions.get("code")) == (
                listing,
                settings,
                code,
            ):
                return manifest
        return None

    def judged_on(self, test_digest: str) -> int:
        """How many releases were judged on the test split with this digest: each look wears it out a little."""
        in_parallel(self._manifest, self._keys)
        return sum(manifest.fields["data"].get("test") == test_digest for manifest in self)

    def __iter__(self) -> Iterator[Manifest]:
        return filter(None, map(self._manifest, self._keys))

    def _manifest(self, key: str) -> Manifest | None:
        if key not in self._read:
            self._read[key] = self._fetch(key)
        return self._read[key]

    def _fetch(self, key: str) -> Manifest | None:
        try:
            return Manifest.parse(self._model.read(key), key)
        except (ReleaseError, StoreNotFound) as error:
            logger.warning("%s is passed over: %s", key, error)
            return None


def history(model: Store) -> History:
    """List a model's releases, newest first."""
    entries = [entry for entry in model.list("releases/") if _is_manifest(entry.key)]
    return History(
        model,
        [entry.key for entry in sorted(entries, key=lambda entry: (-entry.modified, entry.key))],
    )


def _is_manifest(key: str) -> bool:
    match key.split("/"):
        case ["releases", _, manifests.NAME]:
            return True
    return False

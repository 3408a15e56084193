"""What a store promises, asked of real ones, and of one that lies."""

from pathlib import Path

import pytest

from job.storage import Store
from job.storage.folder import FolderStore
from tools.torture import stores


@pytest.fixture(autouse=True)
def few_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    # A thousand requests are the tool's. Here a page is what it is, and the order counts.
    monkeypatch.setattr(stores, "MANY", 12)


def test_a_conforming_store_keeps_all_promises(store: Store) -> None:
    broken = [finding for finding in stores.examine(store) if not finding.holds]
    assert broken == []
    assert list(store.list()) == []


class Obliging(FolderStore):
    """A store that ignores conditions on writes, as older S3 servers do."""

    def write_if(self, key: str, data: bytes, etag: str | None) -> str:
        return self.write(key, data)

    def child(self, suffix: str) -> "Obliging":
        return Obliging(self._resolve_prefix(suffix), self._base)


def test_a_store_that_ignores_conditions_is_found_out(tmp_path: Path) -> None:
    findings = stores.examine(Obliging(tmp_path))
    broken = {finding.promise for finding in findings if not finding.holds}
    assert broken == {
        "An object is created only where there is none",
        "An object is replaced only while it has the expected ETag",
        "Of writers at once that create, exactly one succeeds",
        "Of writers at once that replace, exactly one succeeds",
        "The probe at the start of each run passes, and leaves nothing",
    }

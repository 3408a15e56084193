"""What the tests of the data set share: folders and archives made on the spot, and one way to bring them here."""

import tarfile
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import pytest

from job.dataset import Dataset, Listing, fetch, survey
from job.settings import CacheSettings, DatasetSettings
from job.telemetry import Progressed


class Progress:
    """A telemetry that only remembers how far the work came."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, str]] = []

    def emit(self, event: Progressed) -> None:
        self.calls.append((event.done, event.total, event.unit))


@pytest.fixture
def progress() -> Progress:
    return Progress()


@pytest.fixture
def look() -> Callable[[str], Listing]:
    return lambda uri: survey(DatasetSettings(uri=uri))


@pytest.fixture
def bring(tmp_path: Path, progress: Progress) -> Callable[..., Dataset]:
    """Survey and fetch a URI with the cache in `tmp_path / "cache"`, or in `cache`."""

    def act(
        uri: str,
        limit: int | None = None,
        cache: Path | None = None,
        listing: Listing | None = None,
    ) -> Dataset:
        dataset = DatasetSettings(uri=uri)
        settings = CacheSettings(dir=cache or tmp_path / "cache", limit=limit)
        return fetch(listing or survey(dataset), dataset, settings, progress)  # type: ignore[arg-type]

    return act


@pytest.fixture
def plant(tmp_path: Path) -> Callable[..., Path]:
    """Write files below a new folder of `tmp_path`."""

    def act(files: Mapping[str, bytes], folder: str = "data") -> Path:
        for name, content in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / folder

    return act


@pytest.fixture
def tar(tmp_path: Path) -> Callable[..., Path]:
    """Write a .tar or .tar.gz with files, then with members given as they are."""

    def act(files: Mapping[str, bytes], *members: tarfile.TarInfo, name: str = "data.tar") -> Path:
        path = tmp_path / name
        with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as archive:
            for member, content in files.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, BytesIO(content))
            for info in members:
                archive.addfile(info, BytesIO(bytes(info.size)))
        return path

    return act


@pytest.fixture
def zipped(tmp_path: Path) -> Callable[..., Path]:
    """Write a .zip with files, then with members given as they are."""

    def act(files: Mapping[str | zipfile.ZipInfo, bytes], name: str = "data.zip") -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in files.items():
                archive.writestr(member, content)
        return path

    return act

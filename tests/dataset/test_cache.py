import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from job import storage
from job.dataset import Dataset
from job.dataset.cache import open_cache
from job.errors import JobError, SettingsError
from job.storage import Entry
from tests.conftest import FaultyProxy

ENTRY = Entry("rose/1.jpg", 3, "etag", 0.0)


def fill(uri: str, files: Mapping[str, bytes]) -> None:
    store = storage.connect(uri)
    for name, content in files.items():
        store.write(name, content)


def everything(folder: Path) -> list[str]:
    return sorted(
        path.name
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".lock", ".jsonl")
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 1 MiB, where the machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        done = False
    if not done:
        pytest.skip("mounting a small disk is not allowed here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_one_content_is_kept_once(tmp_path: Path) -> None:
    with open_cache(tmp_path, None, "s3://b") as cache:
        files = [cache.keep_stream(io.BytesIO(b"abc")) for _ in range(2)]
    assert files[0] == files[1]
    assert everything(tmp_path) == [hashlib.sha256(b"abc").hexdigest()]


def test_what_one_run_recorded_another_knows_for_this_version_alone(tmp_path: Path) -> None:
    with open_cache(tmp_path, None, "s3://b") as cache:
        cache.remember(ENTRY, cache.keep_stream(io.BytesIO(b"abc")).sha256)
    with open_cache(tmp_path, None, "s3://b") as cache:
        assert cache.find(ENTRY)
        assert cache.find(Entry("rose/1.jpg", 3, "other", 0.0)) is None
    with open_cache(tmp_path, None, "s3://other") as cache:
        assert cache.find(ENTRY) is None


def test_a_line_of_the_index_that_a_crash_cut_short_is_skipped(tmp_path: Path) -> None:
    with open_cache(tmp_path, None, "s3://b") as cache:
        cache.remember(ENTRY, "0" * 64)
        cache.remember(Entry("rose/2.jpg", 3, "etag", 0.0), "1" * 64)
    (index,) = (tmp_path / "index").glob("*/*.jsonl")
    index.write_text(index.read_text()[:-20])
    with open_cache(tmp_path, None, "s3://b") as cache:
        assert cache.find_sha256(ENTRY) == "0" * 64
        assert cache.find_sha256(Entry("rose/2.jpg", 3, "etag", 0.0)) is None


def test_two_runs_write_their_index_side_by_side(tmp_path: Path) -> None:
    with open_cache(tmp_path, None, "s3://b") as one, open_cache(tmp_path, None, "s3://b") as other:
        one.remember(ENTRY, "0" * 64)
        other.remember(Entry("rose/2.jpg", 3, "etag", 0.0), "1" * 64)
        assert one.incoming_path(ENTRY) != other.incoming_path(ENTRY)
    with open_cache(tmp_path, None, "s3://b") as cache:
        assert cache.find_sha256(ENTRY)
        assert cache.find_sha256(Entry("rose/2.jpg", 3, "etag", 0.0))


def test_what_a_failed_run_left_is_found_by_the_next_and_cleared_after_success(
    tmp_path: Path,
) -> None:
    def fail() -> None:
        with open_cache(tmp_path, None, "s3://b") as cache:
            cache.incoming_path(ENTRY).write_bytes(b"ab")
            raise JobError("stop")

    with pytest.raises(JobError):
        fail()
    with open_cache(tmp_path, None, "s3://b") as cache:
        assert cache.incoming_path(ENTRY).read_bytes() == b"ab"
        assert cache.count_arrived_bytes([ENTRY]) == 2
        assert cache.count_arrived_bytes([]) == 0
    assert everything(tmp_path) == []


def test_a_stream_that_fails_leaves_nothing(tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise EOFError
            return super().read(2)

    with open_cache(tmp_path, None, "s3://b") as cache:
        with pytest.raises(EOFError):
            cache.keep_stream(Broken(b"abc"))
        assert everything(tmp_path) == []


# A cache too small


def asked_for(error: SettingsError) -> int:
    assert error.exit_code == 2
    (size,) = re.findall(r"GRAFT_CACHE_LIMIT to at least (\d+)", error.cure)
    return int(size)


def test_images_that_cannot_fit_are_refused_with_the_size_to_ask_for(
    bucket: str, faulty: FaultyProxy, fetch_uri: Callable[..., Dataset], tmp_path: Path
) -> None:
    fill(bucket, {f"rose/{number}.jpg": os.urandom(5000) for number in range(3)})
    with pytest.raises(
        SettingsError, match=r"3 images: 24,576 more bytes are needed in .* GRAFT_CACHE_LIMIT=20000"
    ) as caught:
        fetch_uri(bucket, limit=20_000)
    assert [
        path for method, path, _ in faulty.requests if method == "GET" and "list-type" not in path
    ] == []
    assert everything(tmp_path) == []
    assert len(fetch_uri(bucket, limit=asked_for(caught.value)).records) == 3
    assert len(fetch_uri(bucket, limit=1).records) == 3  # all is there, nothing more is needed


def test_what_is_in_the_cache_already_counts(
    bucket: str, fetch_uri: Callable[..., Dataset], tmp_path: Path
) -> None:
    fill(bucket, {"rose/1.jpg": b"x"})
    weights = tmp_path / "cache/weights/w.h5"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(bytes(10_000))
    with pytest.raises(SettingsError) as caught:
        fetch_uri(bucket, limit=10_000)
    assert asked_for(caught.value) == 12_288 + 4096


def test_a_folder_needs_no_space(
    plant: Callable[..., Path], fetch_uri: Callable[..., Dataset]
) -> None:
    assert len(fetch_uri(plant({"rose/1.jpg": bytes(10_000)}).as_uri(), limit=1).records) == 1


def test_an_archive_needs_space_for_itself_and_for_what_is_in_it(
    bucket: str, faulty: FaultyProxy, fetch_uri: Callable[..., Dataset], tar: Callable[..., Path]
) -> None:
    path = tar({"rose/1.jpg": bytes(300_000), "rose/2.jpg": bytes(1)}, name="a.tar.gz")
    storage.connect(bucket).upload("a.tar.gz", path)
    with pytest.raises(SettingsError, match=r"a\.tar\.gz and what is in it: 8,192 more") as first:
        fetch_uri(f"{bucket}/a.tar.gz", limit=1)
    with pytest.raises(SettingsError, match=r"2 images in a\.tar\.gz: 307,200 more") as second:
        fetch_uri(f"{bucket}/a.tar.gz", limit=asked_for(first.value))
    assert len(fetch_uri(f"{bucket}/a.tar.gz", limit=asked_for(second.value)).records) == 2


def test_bytes_that_have_arrived_are_not_asked_for_twice(tmp_path: Path) -> None:
    with open_cache(tmp_path, 8192, "s3://b") as cache:
        cache.incoming_path(ENTRY).write_bytes(bytes(4096))
        cache.require_space([8192], "1 image", cache.count_arrived_bytes([ENTRY]))
        with pytest.raises(SettingsError):
            cache.require_space([8192], "1 image")


# A full disk


def test_more_than_the_disk_has_is_refused_with_what_is_missing(
    bucket: str, fetch_uri: Callable[..., Dataset], small_disk: Path
) -> None:
    fill(bucket, {"rose/1.jpg": bytes(2 << 20)})
    with pytest.raises(SettingsError, match="its disk has") as caught:
        fetch_uri(bucket, cache=small_disk / "cache")
    assert re.search(r"a volume with [\d,]+ bytes more", caught.value.cure)


@pytest.mark.parametrize("source", ["images", "archive"])
def test_a_disk_that_fills_up_while_caching_leaves_nothing_incomplete(
    bucket: str,
    fetch_uri: Callable[..., Dataset],
    tar: Callable[..., Path],
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
) -> None:
    images = {f"rose/{number}.jpg": os.urandom(400_000) for number in range(4)}
    uri = bucket if source == "images" else tar(images).as_uri()
    if source == "images":
        fill(uri, images)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1 << 40}))
    with pytest.raises(SettingsError) as caught:
        fetch_uri(uri, cache=small_disk / "cache")
    assert caught.value.exit_code == 2
    assert "larger volume" in caught.value.cure
    whole = {hashlib.sha256(content).hexdigest() for content in images.values()}
    for path in (small_disk / "cache/objects").glob("*/*"):
        assert path.name in whole
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


LIMITED = """
import resource, sys
from pathlib import Path
from job.dataset import fetch, survey
from job.errors import JobError
from job.settings import CacheSettings, DatasetSettings

class Progress:
    def emit(self, *_): pass

uri, cache = sys.argv[1:]
dataset = DatasetSettings(uri=uri)
listing = survey(dataset)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    fetch(listing, dataset, CacheSettings(dir=Path(cache)), Progress())
except JobError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_a_file_that_the_system_refuses_to_let_grow_is_a_full_disk(
    tar: Callable[..., Path], tmp_path: Path
) -> None:
    path = tar({"rose/1.jpg": bytes(50_000), "rose/2.jpg": bytes(200_000)})
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, path.as_uri(), tmp_path / "cache"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (2, "")
    assert "is full" in run.stdout
    assert everything(tmp_path / "cache") == [hashlib.sha256(bytes(50_000)).hexdigest()]


def test_a_cache_that_cannot_be_a_folder_is_a_setting_that_cannot_work(
    plant: Callable[..., Path], fetch_uri: Callable[..., Dataset], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SettingsError, match="cannot be used") as caught:
        fetch_uri(plant({"rose/1.jpg": b"x"}).as_uri(), cache=tmp_path / "file/cache")
    assert "GRAFT_CACHE_DIR" in caught.value.cure


def test_the_home_folder_may_be_written_as_a_tilde(
    plant: Callable[..., Path],
    fetch_uri: Callable[..., Dataset],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    fetch_uri(plant({"rose/1.jpg": b"x"}).as_uri(), cache=Path("~/.cache/graft"))
    assert (tmp_path / "home/.cache/graft/index").is_dir()

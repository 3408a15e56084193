import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from job import storage
from job.dataset.cache import opened
from job.errors import JobError, SettingsError
from job.storage import Entry

ENTRY = Entry("rose/1.jpg", 3, "etag", 0.0)


def fill(uri, files):
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
def small_disk(tmp_path):
    """A real disk of 1 MiB, where the machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]
    try:
        done = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        done = False
    if not done:
        pytest.skip("mounting a small disk is not allowed here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_one_content_is_kept_once(tmp_path):
    with opened(tmp_path, None, "s3://b") as cache:
        files = [cache.keep_stream(io.BytesIO(b"abc")) for _ in range(2)]
    assert files[0] == files[1]
    assert everything(tmp_path) == [hashlib.sha256(b"abc").hexdigest()]


def test_what_one_run_noted_another_knows_unless_the_object_is_another_version(tmp_path):
    with opened(tmp_path, None, "s3://b") as cache:
        cache.note(ENTRY, cache.keep_stream(io.BytesIO(b"abc")).sha256)
    with opened(tmp_path, None, "s3://b") as cache:
        assert cache.find(ENTRY)
        assert cache.find(Entry("rose/1.jpg", 3, "other", 0.0)) is None
    with opened(tmp_path, None, "s3://other") as cache:
        assert cache.find(ENTRY) is None


def test_a_line_of_the_index_that_a_crash_cut_short_is_none(tmp_path):
    with opened(tmp_path, None, "s3://b") as cache:
        cache.note(ENTRY, "0" * 64)
        cache.note(Entry("rose/2.jpg", 3, "etag", 0.0), "1" * 64)
    (index,) = (tmp_path / "index").glob("*/*.jsonl")
    index.write_text(index.read_text()[:-20])
    with opened(tmp_path, None, "s3://b") as cache:
        assert cache.known(ENTRY) == "0" * 64
        assert cache.known(Entry("rose/2.jpg", 3, "etag", 0.0)) is None


def test_two_runs_write_their_notes_side_by_side(tmp_path):
    with opened(tmp_path, None, "s3://b") as one, opened(tmp_path, None, "s3://b") as other:
        one.note(ENTRY, "0" * 64)
        other.note(Entry("rose/2.jpg", 3, "etag", 0.0), "1" * 64)
        assert one.incoming(ENTRY) != other.incoming(ENTRY)
    with opened(tmp_path, None, "s3://b") as cache:
        assert cache.known(ENTRY)
        assert cache.known(Entry("rose/2.jpg", 3, "etag", 0.0))


def test_what_a_failed_run_left_half_arrived_is_found_by_the_next_and_cleared_after_success(
    tmp_path,
):
    def fail():
        with opened(tmp_path, None, "s3://b") as cache:
            cache.incoming(ENTRY).write_bytes(b"ab")
            raise JobError("stop")

    with pytest.raises(JobError):
        fail()
    with opened(tmp_path, None, "s3://b") as cache:
        assert cache.incoming(ENTRY).read_bytes() == b"ab"
        assert cache.arrived([ENTRY]) == 2
        assert cache.arrived([]) == 0
    assert everything(tmp_path) == []


def test_a_stream_that_fails_leaves_nothing(tmp_path):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            if self.tell():
                raise EOFError
            return super().read(2)

    with opened(tmp_path, None, "s3://b") as cache:
        with pytest.raises(EOFError):
            cache.keep_stream(Broken(b"abc"))
        assert everything(tmp_path) == []


# A cache too small


def asked_for(error: SettingsError) -> int:
    assert error.exit_code == 2
    (size,) = re.findall(r"GRAFT_CACHE_LIMIT to at least (\d+)", error.cure)
    return int(size)


def test_images_that_cannot_fit_are_refused_before_the_first_byte_with_the_size_to_ask_for(
    bucket, faulty, bring, tmp_path
):
    fill(bucket, {f"rose/{number}.jpg": os.urandom(5000) for number in range(3)})
    with pytest.raises(
        SettingsError, match=r"3 images need 24,576 more bytes in .* GRAFT_CACHE_LIMIT=20000"
    ) as caught:
        bring(bucket, limit=20_000)
    assert [
        path for method, path, _ in faulty.requests if method == "GET" and "list-type" not in path
    ] == []
    assert everything(tmp_path) == []
    assert len(bring(bucket, limit=asked_for(caught.value)).records) == 3
    assert len(bring(bucket, limit=1).records) == 3  # all is there, nothing more is needed


def test_what_lies_in_the_cache_already_counts(bucket, bring, tmp_path):
    fill(bucket, {"rose/1.jpg": b"x"})
    weights = tmp_path / "cache/weights/w.h5"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(bytes(10_000))
    with pytest.raises(SettingsError) as caught:
        bring(bucket, limit=10_000)
    assert asked_for(caught.value) == 12_288 + 4096


def test_a_folder_needs_no_room(plant, bring):
    assert len(bring(plant({"rose/1.jpg": bytes(10_000)}).as_uri(), limit=1).records) == 1


def test_an_archive_needs_room_for_itself_and_for_what_is_in_it(bucket, faulty, bring, tar):
    path = tar({"rose/1.jpg": bytes(300_000), "rose/2.jpg": bytes(1)}, name="a.tar.gz")
    storage.connect(bucket).upload("a.tar.gz", path)
    with pytest.raises(
        SettingsError, match=r"a\.tar\.gz and what is in it need 8,192 more"
    ) as first:
        bring(f"{bucket}/a.tar.gz", limit=1)
    with pytest.raises(
        SettingsError, match=r"The 2 images in a\.tar\.gz need 307,200 more"
    ) as second:
        bring(f"{bucket}/a.tar.gz", limit=asked_for(first.value))
    assert len(bring(f"{bucket}/a.tar.gz", limit=asked_for(second.value)).records) == 2


def test_half_arrived_bytes_are_not_asked_for_twice(tmp_path):
    with opened(tmp_path, 8192, "s3://b") as cache:
        cache.incoming(ENTRY).write_bytes(bytes(4096))
        cache.require([8192], "1 image", cache.arrived([ENTRY]))
        with pytest.raises(SettingsError):
            cache.require([8192], "1 image")


# A full disk


def test_more_than_the_disk_has_is_refused_with_what_is_missing(bucket, bring, small_disk):
    fill(bucket, {"rose/1.jpg": bytes(2 << 20)})
    with pytest.raises(SettingsError, match="its disk has") as caught:
        bring(bucket, cache=small_disk / "cache")
    assert re.search(r"a volume with [\d,]+ bytes more", caught.value.cure)


@pytest.mark.parametrize("source", ["images", "archive"])
def test_a_disk_that_fills_up_while_caching_leaves_nothing_half_written(
    bucket, bring, tar, small_disk, monkeypatch, source
):
    images = {f"rose/{number}.jpg": os.urandom(400_000) for number in range(4)}
    uri = bucket if source == "images" else tar(images).as_uri()
    if source == "images":
        fill(uri, images)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1 << 40}))
    with pytest.raises(SettingsError) as caught:
        bring(uri, cache=small_disk / "cache")
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


def test_a_file_that_the_system_refuses_to_let_grow_is_a_full_disk(tar, tmp_path):
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


def test_a_cache_that_cannot_be_a_folder_is_a_setting_that_cannot_work(plant, bring, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SettingsError, match="cannot be used") as caught:
        bring(plant({"rose/1.jpg": b"x"}).as_uri(), cache=tmp_path / "file/cache")
    assert "GRAFT_CACHE_DIR" in caught.value.cure


def test_the_home_folder_may_be_written_as_a_tilde(plant, bring, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    bring(plant({"rose/1.jpg": b"x"}).as_uri(), cache=Path("~/.cache/graft"))
    assert (tmp_path / "home/.cache/graft/index").is_dir()

"""What both kinds of store do, each test once over S3 and once over a folder. And addresses."""

import random
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from job import storage
from job.errors import SettingsError, StoreConflict, StoreNotFound, StoreUnavailable
from job.storage import Entry, Store, connect, download, split_uri


def keys(store: Store, prefix: str = "") -> list[str]:
    return [entry.key for entry in store.list(prefix)]


def head(store: Store, key: str) -> Entry:
    entry = store.head(key)
    assert entry is not None
    return entry


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_written_is_read_back(store: storage.Store) -> None:
    etag = store.write("a/b.txt", b"hello")
    assert store.read("a/b.txt") == b"hello"
    assert store.write("a/b.txt", b"bye") != etag
    assert store.read("a/b.txt") == b"bye"


def test_an_entry_says_size_etag_and_time_the_same_in_head_and_list(store: storage.Store) -> None:
    etag = store.write("a.txt", b"hello")
    (listed,) = store.list()
    assert (listed.key, listed.size, listed.etag) == ("a.txt", 5, etag)
    assert etag == "5d41402abc4b2a76b9719d911017c592"  # MD5, without quotes, in both kinds
    assert listed.modified > 1.6e9
    assert int(head(store, "a.txt").modified) == int(listed.modified)


def test_nothing_is_at_a_key_that_was_never_written(store: storage.Store) -> None:
    assert store.head("a") is None
    assert store.head("") is None
    with pytest.raises(StoreNotFound):
        store.read("a")


def test_an_empty_object_is_an_object(store: storage.Store, tmp_path: Path) -> None:
    store.write("empty", b"")
    assert (store.read("empty"), head(store, "empty").size) == (b"", 0)
    download(store, "empty", tmp_path / "file", head(store, "empty"))
    assert (tmp_path / "file").read_bytes() == b""


def test_keys_are_listed_in_the_order_of_their_bytes(store: storage.Store) -> None:
    names = ["a.jpg", "a/1.jpg", "a/b/c", "a0", "B", "é", "z"]
    for name in reversed(names):
        store.write(name, b"x")
    assert keys(store) == sorted(names, key=str.encode)


def test_a_listing_is_lazy(store: storage.Store) -> None:
    for number in range(3):
        store.write(f"{number}", b"x")
    listing = store.list()
    assert next(listing).key == "0"
    store.write("3", b"x")
    assert len(list(listing)) >= 2


def test_a_sibling_prefix_is_not_listed_read_or_deleted(store_uri: str) -> None:
    everything = connect(store_uri)
    for key in ("cats/1.jpg", "cats-old/1.jpg", "cats.txt"):
        everything.write(key, b"x")
    cats = connect(f"{store_uri}/cats")
    assert keys(cats) == ["1.jpg"]
    assert keys(everything, "cats") == keys(everything, "cats/") == ["cats/1.jpg"]
    assert cats.head("-old/1.jpg") is None
    assert cats.delete() == 1
    assert keys(everything) == ["cats-old/1.jpg", "cats.txt"]


def test_an_inner_folder_named_like_the_prefix_keeps_its_place(store: storage.Store) -> None:
    store.child("cats").write("cats/1.jpg", b"x")
    assert keys(store.child("cats")) == ["cats/1.jpg"]
    assert keys(store.child("cats").child("cats")) == ["1.jpg"]


def test_a_child_sees_its_own_part_only(store: storage.Store, store_uri: str) -> None:
    child = store.child("runs/1/")
    child.write("a", b"x")
    store.write("b", b"x")
    assert child.uri == f"{store_uri}/runs/1"
    assert (keys(child), keys(store)) == (["a"], ["b", "runs/1/a"])


def test_an_empty_prefix_gives_no_entries(store: storage.Store) -> None:
    assert keys(store, "nothing") == keys(store.child("nothing")) == []


def test_a_stream_starts_at_the_given_byte(store: storage.Store) -> None:
    store.write("a", b"0123456789")
    assert b"".join(store.stream("a", 4)) == b"456789"
    assert b"".join(store.stream("a", 10)) == b"".join(store.stream("a", 99)) == b""


def test_a_stream_of_another_version_is_refused(store: storage.Store) -> None:
    old = store.write("a", b"old")
    assert b"".join(store.stream("a", etag=old)) == b"old"
    store.write("a", b"new")
    with pytest.raises(StoreConflict):
        list(store.stream("a", etag=old))


def test_a_file_is_uploaded_whole(store: storage.Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1000)
    store.upload("deep/er/file", tmp_path / "file")
    assert store.read("deep/er/file") == b"x" * 1000


def test_deleting_takes_the_object_of_that_name_and_what_is_below(store: storage.Store) -> None:
    for key in ("a/1", "a/b/2", "ab", "c"):
        store.write(key, b"x")
    assert store.delete("a") == 2
    assert store.delete("ab") == 1
    assert store.delete("ab") == store.delete("c/d") == 0
    assert keys(store) == ["c"]


def test_deleting_everything_leaves_a_usable_root(store: storage.Store) -> None:
    store.write("a/b", b"x")
    assert store.delete() == 1
    store.write("a", b"a file where a folder was")
    assert keys(store) == ["a"]


# Conditional writes


def test_a_conditional_write_creates_once(store: storage.Store) -> None:
    store.write_if("a", b"1", None)
    with pytest.raises(StoreConflict):
        store.write_if("a", b"2", None)
    assert store.read("a") == b"1"


def test_a_conditional_write_replaces_the_version_it_knows(store: storage.Store) -> None:
    first = store.write_if("a", b"1", None)
    second = store.write_if("a", b"2", first)
    assert second == head(store, "a").etag
    with pytest.raises(StoreConflict):
        store.write_if("a", b"3", first)
    assert store.read("a") == b"2"


def test_a_conditional_write_does_not_restore_what_is_gone(store: storage.Store) -> None:
    etag = store.write("a", b"1")
    store.delete("a")
    with pytest.raises(StoreConflict):
        store.write_if("a", b"2", etag)
    assert store.head("a") is None


def race(racers: int, run: Callable[[int], bool]) -> list[int]:
    """Let `run(number)` start at once in so many threads; the numbers for which it gave True."""
    barrier = threading.Barrier(racers)

    def start(number: int) -> bool:
        barrier.wait()
        return run(number)

    with ThreadPoolExecutor(racers) as pool:
        return [number for number, won in enumerate(pool.map(start, range(racers))) if won]


@pytest.mark.parametrize("exists", [False, True])
def test_of_32_racers_exactly_one_wins(store: storage.Store, exists: bool) -> None:
    etag = store.write("a", b"start") if exists else None

    def run(number: int) -> bool:
        try:
            store.write_if("a", f"racer {number}".encode(), etag)
        except StoreConflict:
            return False
        return True

    (winner,) = race(32, run)
    assert store.read("a") == f"racer {winner}".encode()


def test_racers_with_equal_bytes_have_one_winner_too(store: storage.Store) -> None:
    def run(_: int) -> bool:
        try:
            store.write_if("a", b"the same", None)
        except StoreConflict:
            return False
        return True

    assert len(race(16, run)) == 1


# The probe


def test_a_probe_of_a_good_store_leaves_nothing_behind(store: storage.Store) -> None:
    store.write("a", b"x")
    store.probe()
    assert keys(store) == ["a"]


# Downloads


def test_a_download_has_its_name_only_when_it_is_whole(
    store: storage.Store, tmp_path: Path
) -> None:
    store.write("../weird//key", b"hello") if store.uri.startswith("s3") else store.write(
        "key", b"hello"
    )
    (entry,) = store.list()
    download(store, entry.key, tmp_path / "made" / "local", entry)
    assert files(tmp_path / "made") == ["local"]
    assert (tmp_path / "made" / "local").read_bytes() == b"hello"


def test_a_download_of_an_object_that_changed_since_it_was_listed_is_refused(
    store: storage.Store, tmp_path: Path
) -> None:
    store.write("a", b"old")
    entry = head(store, "a")
    store.write("a", b"new")
    with pytest.raises(StoreConflict):
        download(store, "a", tmp_path / "to" / "file", entry)
    assert not (tmp_path / "to" / "file").exists()


def test_a_download_of_a_missing_object_is_an_error(store: storage.Store, tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound):
        download(store, "a", tmp_path / "file", Entry("a", 1, "0" * 32, 0.0))
    assert not (tmp_path / "file").exists()


def test_a_download_goes_on_from_the_part_of_its_own_version_only(
    store: storage.Store, tmp_path: Path
) -> None:
    old, new = random.Random(1).randbytes(10_000), random.Random(2).randbytes(10_000)
    folder = tmp_path / "cache"
    for content in (old, new):
        store.write("a", content)
        entry = head(store, "a")
        (part,) = interrupted(store, entry, folder)
        part.write_bytes(content[:6_000])
        if content is new:
            download(store, "a", folder / "file", entry)
    assert (folder / "file").read_bytes() == new


def interrupted(store: Store, entry: Entry, folder: Path) -> set[Path]:
    """The part that a download which broke off has left: made by one that finds its object gone."""
    before = set(folder.glob("*.part"))
    with pytest.raises(StoreNotFound):
        download(store, "gone", folder / "file", entry)
    return set(folder.glob("*.part")) - before


@pytest.mark.parametrize("kept", [b"rubbish", b"x" * 100_000], ids=["wrong bytes", "too long"])
def test_a_part_that_does_not_verify_is_fetched_again(
    store: storage.Store, tmp_path: Path, kept: bytes
) -> None:
    store.write("a", b"0123456789")
    folder = tmp_path / "cache"
    (part,) = interrupted(store, head(store, "a"), folder)
    part.write_bytes(kept)
    download(store, "a", folder / "file", head(store, "a"))
    assert (folder / "file").read_bytes() == b"0123456789"


def test_a_download_that_never_verifies_leaves_nothing_and_says_so(
    store: storage.Store, tmp_path: Path
) -> None:
    etag = store.write("a", b"0123456789")
    folder = tmp_path / "cache"
    with pytest.raises(StoreUnavailable, match="arrived twice"):
        download(store, "a", folder / "file", Entry("a", 11, etag, 0.0))
    assert files(folder) == []


def test_two_downloads_to_one_place_do_not_disturb_each_other(
    store: storage.Store, tmp_path: Path
) -> None:
    content = random.Random(3).randbytes(2_000_000)
    store.write("a", content)
    entry = head(store, "a")

    def run(_: int) -> bool:
        download(store, "a", tmp_path / "c" / "file", entry)
        return True

    assert len(race(4, run)) == 4
    assert (tmp_path / "c" / "file").read_bytes() == content
    assert files(tmp_path / "c") == ["file"]


def test_a_cache_that_cannot_be_written_is_a_settings_error(
    store: storage.Store, tmp_path: Path
) -> None:
    store.write("a", b"x")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SettingsError, match="Cannot write the 1 bytes of 'a'") as caught:
        download(store, "a", tmp_path / "file" / "inside", head(store, "a"))
    assert "a folder that the job may write to" in caught.value.cure


# Addresses


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("file://data/flowers", "three slashes"),
        ("file:///a%00b", "three slashes"),
        ("s3://", "s3://bucket/prefix"),
        ("s3:///prefix", "s3://bucket/prefix"),
        ("gs://bucket", "Write s3://bucket, and set AWS_ENDPOINT_URL_S3="),
        ("", "s3://bucket/prefix"),
    ],
)
def test_an_address_of_another_kind_is_refused_with_what_to_write(uri: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        connect(uri)
    assert repr(uri) in caught.value.message
    assert said in caught.value.cure


def test_credentials_in_an_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError) as caught:
        connect("s3://KEY:hunter2@bucket/prefix")
    assert "hunter2" not in str(caught.value)
    assert "AWS SDK" in caught.value.cure


@pytest.mark.parametrize(
    ("uri", "parent", "name"),
    [
        ("s3://b/x/data.tar.gz", "s3://b/x", "data.tar.gz"),
        ("s3://b/data.csv", "s3://b", "data.csv"),
        ("s3://b/x/cats/", "s3://b/x", "cats"),
        ("s3://b", "s3://b", ""),
        ("s3://b/", "s3://b", ""),
        ("file:///x/my%20data.zip", "file:///x", "my data.zip"),
        ("file:///data.zip", "file:///", "data.zip"),
        ("file:///", "file:///", ""),
    ],
)
def test_an_address_splits_into_its_folder_and_its_name(uri: str, parent: str, name: str) -> None:
    assert split_uri(uri) == (parent, name)


def test_one_object_is_read_through_the_folder_that_holds_it(store_uri: str) -> None:
    connect(store_uri).write("deep/data.tar.gz", b"archive")
    parent, name = split_uri(f"{store_uri}/deep/data.tar.gz")
    assert connect(parent).read(name) == b"archive"


def test_a_run_that_needs_only_a_folder_does_not_wait_for_boto3(tmp_path: Path) -> None:
    code = (
        "import sys; from job.storage import connect; connect(sys.argv[1]).probe(); "
        "assert 'boto3' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path.as_uri()], check=True)


def test_a_folder_with_a_space_is_named_either_way(tmp_path: Path) -> None:
    (tmp_path / "my cats").mkdir()
    assert connect(f"file://{tmp_path}/my%20cats").uri == connect(f"file://{tmp_path}/my cats").uri
    assert connect(f"file://localhost{tmp_path}").uri == tmp_path.as_uri()

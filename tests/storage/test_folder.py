"""A folder only: no key and no link leads out of it, and its files are whole and unique."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from job.errors import (
    JobError,
    SettingsError,
    StoreConflict,
    StoreForbidden,
    StoreNotFound,
    StoreUnavailable,
)
from job.storage import Store, connect
from job.storage.folder_errors import translate_error


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> Store:
    return connect(folder.as_uri())


def keys(store: Store) -> list[str]:
    return [entry.key for entry in store.list()]


# Nothing leaves the folder


@pytest.mark.parametrize(
    "key", ["../out", "a/../../out", "/etc/passwd", "a//b", "a/./b", "..", ".", "a/", "nul\0"]
)
def test_a_key_that_is_not_a_path_inside_is_refused(store: Store, tmp_path: Path, key: str) -> None:
    for operation in (
        lambda: store.write(key, b"x"),
        lambda: store.write_if(key, b"x", None),
        lambda: store.read(key),
        lambda: store.head(key),
    ):
        with pytest.raises(StoreForbidden):
            operation()
    assert not (tmp_path / "out").exists()


def test_a_child_does_not_leave_the_folder_either(store: Store) -> None:
    with pytest.raises(StoreForbidden):
        store.child("../other")
    with pytest.raises(StoreForbidden):
        store.delete("..")


@pytest.mark.parametrize("target", ["secret.txt", "secrets"])
def test_a_link_that_leads_out_of_the_folder_is_refused(
    store: Store, folder: Path, tmp_path: Path, target: str
) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link").symlink_to(tmp_path / target)
    for operation in (
        lambda: keys(store),
        lambda: store.read("link"),
        lambda: store.write("link", b"x"),
        lambda: store.write("link/x", b"x"),
    ):
        with pytest.raises(StoreForbidden):
            operation()
    assert (tmp_path / "secret.txt").read_text() == "secret"


def test_a_link_to_a_file_inside_is_a_file(store: Store, folder: Path) -> None:
    store.write("a", b"x")
    (folder / "link").symlink_to("a")
    assert keys(store) == ["a", "link"]
    store.write("link", b"y")
    assert store.read("a") == b"y"


def test_what_is_not_a_file_is_left_out_and_named_in_the_log(
    store: Store, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.write("a/b", b"x")
    (folder / "to folder").symlink_to("a")
    (folder / "to nothing").symlink_to("nothing")
    os.mkfifo(folder / "pipe")
    assert keys(store) == ["a/b"]
    assert [name for name in ("to folder", "to nothing", "pipe") if name in caplog.text] == [
        "to folder",
        "to nothing",
        "pipe",
    ]


def test_deleting_does_not_follow_links(store: Store, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("x")
    (folder / "links").mkdir()
    (folder / "links" / "out").symlink_to(tmp_path / "outside")
    store.write("links/a", b"x")
    assert store.delete("links") == 2
    assert (tmp_path / "outside" / "kept").exists()


def test_a_name_that_is_not_utf8_is_an_error_and_not_a_crash(store: Store, folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg")).write_bytes(b"x")
    with pytest.raises(SettingsError, match="not UTF-8") as caught:
        keys(store)
    str(caught.value).encode()


# What a folder cannot do, it says


def test_a_missing_folder_is_an_error_to_list_and_is_made_to_write(tmp_path: Path) -> None:
    store = connect((tmp_path / "not" / "yet").as_uri())
    with pytest.raises(StoreNotFound, match="no folder"):
        keys(store)
    assert store.head("a") is None
    store.write("a", b"x")
    assert keys(store) == ["a"]


def test_a_probe_makes_the_folder_and_leaves_it_empty(tmp_path: Path) -> None:
    connect((tmp_path / "not" / "yet").as_uri()).probe()
    assert list((tmp_path / "not" / "yet").iterdir()) == []


def test_a_file_and_a_folder_of_one_name_do_not_go_together(store: Store) -> None:
    store.write("a", b"x")
    with pytest.raises(StoreForbidden, match="a/b"):
        store.write("a/b", b"x")
    store.write("c/d", b"x")
    with pytest.raises(StoreForbidden) as caught:
        store.write("c", b"x")
    assert "both `a` and `a/b`" in caught.value.cure
    assert store.head("a/b") is store.head("c") is None
    assert store.delete("a/b") == 0
    assert keys(store) == ["a", "c/d"]


def test_a_name_that_is_too_long_is_refused(store: Store) -> None:
    with pytest.raises(StoreForbidden, match="too long"):
        store.write("x" * 256, b"x")


def test_a_place_where_nobody_may_write_is_forbidden() -> None:
    with pytest.raises(StoreForbidden):
        connect("file:///sys/graft").probe()


@pytest.mark.parametrize(
    ("number", "ours"),
    [
        (errno.EACCES, StoreForbidden),
        (errno.EROFS, StoreForbidden),
        (errno.EOPNOTSUPP, StoreForbidden),
        (errno.ENOSPC, SettingsError),
        (errno.EDQUOT, SettingsError),
        (errno.ENOENT, StoreNotFound),
        (errno.ESTALE, StoreUnavailable),
        (errno.EIO, StoreUnavailable),
    ],
)
def test_an_error_of_the_operating_system_is_translated(number: int, ours: type[JobError]) -> None:
    error = translate_error(OSError(number, os.strerror(number)), "file:///x")
    assert type(error) is ours
    assert error.cure


FULL_DISK = """
import resource, sys
from pathlib import Path
from job.errors import SettingsError
from job.storage import connect, download
store, target = connect(sys.argv[1]), Path(sys.argv[2])
# Takes the same code path as a full disk, and needs no root.
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
entry = store.head("large")
for write in (
    lambda: download(store, "large", target / "file", entry),
    lambda: store.write("b", bytes(2 << 20)),
):
    try:
        write()
    except SettingsError as error:
        print(error.cure)
"""


def test_a_full_disk_is_said_and_nothing_half_written_stays(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    store.write("large", bytes(3 << 20))
    command = [sys.executable, "-c", FULL_DISK, folder.as_uri(), str(tmp_path / "cache")]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert [line.split()[0] for line in said] == ["Give", "Give"]
    assert list((tmp_path / "cache").iterdir()) == []
    assert [path.name for path in folder.iterdir()] == ["large"]


# Whole and unique


RACER = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from job.errors import StoreConflict
from job.storage import connect
store, start, number = connect(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
def create(thread):
    while not start.exists():
        time.sleep(0.001)
    try:
        store.write_if("created", f"{number} {thread}".encode(), None)
        return 1
    except StoreConflict:
        return 0
def count(_):
    while True:
        entry = store.head("counter")
        try:
            store.write_if("counter", str(int(store.read("counter")) + 1).encode(), entry.etag)
            return
        except StoreConflict:
            pass
with ThreadPoolExecutor(4) as pool:
    print(sum(pool.map(create, range(4))), flush=True)
    list(pool.map(count, range(4)))
"""


def test_32_racers_in_8_processes_have_one_winner_and_lose_no_update(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    store.write("counter", b"0")
    command = [sys.executable, "-c", RACER, folder.as_uri(), str(tmp_path / "start")]
    racers = [
        subprocess.Popen([*command, str(number)], stdout=subprocess.PIPE, text=True)
        for number in range(8)
    ]
    (tmp_path / "start").touch()
    wins = [int(racer.communicate()[0]) for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 8
    assert sum(wins) == 1
    assert store.read("counter") == b"32"
    assert sorted(path.name for path in folder.iterdir()) == ["counter", "created"]


WRITER = """
import itertools, sys
from job.storage import connect
store = connect(sys.argv[1])
for number in itertools.count():
    store.write("a", bytes([number % 256]) * 4_000_000)
    print(number, flush=True)
"""


def test_a_writer_killed_at_any_instant_leaves_a_whole_file(store: Store, folder: Path) -> None:
    for pause_seconds in (0.0, 0.004, 0.011):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, folder.as_uri()], stdout=subprocess.PIPE
        )
        with writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(pause_seconds)
            writer.send_signal(signal.SIGKILL)
        content = store.read("a")
        assert content == content[:1] * 4_000_000
    assert keys(store) == ["a"]


def test_partial_files_of_a_killed_writer_are_not_listed_and_go_with_the_folder(
    store: Store, folder: Path
) -> None:
    store.write("a/b", b"x")
    (folder / "a" / f".graft-{'0' * 32}.partial").write_bytes(b"half")
    assert keys(store) == ["a/b"]
    assert store.delete("a") == 1
    assert list(folder.iterdir()) == []


def test_writing_and_deleting_side_by_side_loses_no_write(store: Store) -> None:
    stop = threading.Event()

    def prune() -> None:
        while not stop.is_set():
            store.delete("runs/old")

    thread = threading.Thread(target=prune)
    thread.start()
    try:
        for number in range(30):
            store.write("runs/new", str(number).encode())
            store.write("runs/old/x", b"x")
            assert store.read("runs/new") == str(number).encode()
            store.delete("runs/new")
    finally:
        stop.set()
        thread.join()


def test_an_unconditional_write_counts_for_a_conditional_one(store: Store) -> None:
    etag = store.write("a", b"1")
    store.write("a", b"2")
    with pytest.raises(StoreConflict):
        store.write_if("a", b"3", etag)


def test_a_new_file_has_the_mode_that_the_user_asks_for(store: Store, folder: Path) -> None:
    mask = os.umask(0o027)
    try:
        store.write("a", b"x")
    finally:
        os.umask(mask)
    assert (folder / "a").stat().st_mode & 0o777 == 0o640

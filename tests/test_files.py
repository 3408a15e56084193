"""Local files are whole or absent, whatever happens to the one who writes them."""

import hashlib
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from job.files import PARTIAL, make_folder, sha256, write_named, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_gets_its_name_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file"
    with write_whole(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["file"]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with write_whole(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_an_error_in_the_block_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail() -> None:
        with write_whole(path) as file:
            file.write(b"new" * 100_000)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def break_sync(monkeypatch: pytest.MonkeyPatch, of_folders: bool) -> None:
    """Let the disk fail when a file, or when a folder, is synced."""
    sync = os.fsync

    def fail(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == of_folders:
            raise OSError(5, "Input/output error")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)


def test_a_content_that_does_not_reach_the_disk_gets_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"old")
    break_sync(monkeypatch, of_folders=False)
    with pytest.raises(OSError, match="Input/output"), write_whole(tmp_path / "file") as file:
        file.write(b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_name_that_does_not_reach_the_disk_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_sync(monkeypatch, of_folders=True)
    with pytest.raises(OSError, match="Input/output"), write_whole(tmp_path / "file") as file:
        file.write(b"new")


def test_a_folder_that_does_not_reach_the_disk_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_sync(monkeypatch, of_folders=True)
    make_folder(tmp_path)  # it exists: there is nothing to sync
    with pytest.raises(OSError, match="Input/output"):
        make_folder(tmp_path / "new")


KILLED_WITHIN = """
import os, signal, sys
from pathlib import Path
from job.files import write_whole
with write_whole(Path(sys.argv[1])) as file:
    file.write(b"new")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_killed_before_the_rename_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    killed = subprocess.run([sys.executable, "-c", KILLED_WITHIN, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    (left,) = set(names(tmp_path)) - {"file"}
    assert PARTIAL.fullmatch(left)
    with write_whole(path) as file:
        file.write(b"newer")
    assert path.read_bytes() == b"newer"


KILLED_ANYWHERE = """
import itertools, sys
from pathlib import Path
from job.files import write_whole
for number in itertools.count():
    with write_whole(Path(sys.argv[1])) as file:
        file.write(bytes([number % 256]) * 4_000_000)
    print(number, flush=True)
"""


@pytest.mark.parametrize("pause_seconds", [0.0, 0.004, 0.011])
def test_a_process_killed_at_any_instant_leaves_a_whole_file(
    tmp_path: Path, pause_seconds: float
) -> None:
    path = tmp_path / "file"
    command = [sys.executable, "-c", KILLED_ANYWHERE, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(pause_seconds)
        writer.send_signal(signal.SIGKILL)
    content = path.read_bytes()
    assert content == content[:1] * 4_000_000


FULL_DISK = """
import errno, resource, sys
from pathlib import Path
from job.files import NO_SPACE, write_whole
# Stands for a full disk: the write fails in the same place, and no root is needed.
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    with write_whole(Path(sys.argv[1])) as file:
        file.write(bytes(2 << 20))
except OSError as error:
    print(error.errno in NO_SPACE)
"""


def test_a_full_disk_is_an_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    command = [sys.executable, "-c", FULL_DISK, str(path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output.split() == ["True"]
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_of_a_link_that_somebody_names_the_target_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    for content in (b"old", b"new"):
        with write_named(link) as file:
            file.write(content)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["link", "target"]


NAMED_STREAM = """
import sys
from pathlib import Path
from job.files import write_named
print("before", flush=True)
with write_named(Path(sys.argv[1])) as file:
    file.write(b"named\\n")
"""


def test_what_is_open_as_stdout_is_not_replaced_under_its_writer(tmp_path: Path) -> None:
    """`/dev/stdout` leads to a file where the output of a process is redirected to one."""
    path = tmp_path / "out"
    with path.open("ab") as stdout:
        command = [sys.executable, "-c", NAMED_STREAM, str(path)]
        subprocess.run(command, check=True, stdout=stdout)
    assert path.read_bytes() == b"before\nnamed\n"


def test_writers_at_once_leave_the_whole_file_of_one_of_them(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)

    def write(number: int) -> None:
        barrier.wait()
        with write_whole(tmp_path / "new" / "file") as file:
            for _ in range(100):
                file.write(bytes([number]) * 1000)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = (tmp_path / "new" / "file").read_bytes()
    assert content == content[:1] * 100_000
    assert names(tmp_path / "new") == ["file"]


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="exists"), write_whole(tmp_path / "file" / "inside"):
        pass


def test_a_new_file_has_the_mode_that_the_user_asks_for(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        with write_whole(tmp_path / "file"):
            pass
    finally:
        os.umask(mask)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(content)
    assert sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()

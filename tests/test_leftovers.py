"""What killed processes leave on a disk, and that the next start removes just that."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from job import files, pipeline, settings, storage, telemetry
from job.errors import DatasetError
from job.files import open_scratch, sweep_partials, sweep_scratch
from job.workers import Stop

PARTIAL = ".graft-0123456789abcdef0123456789abcdef.partial"
HOLD = """
import sys, time
from pathlib import Path
from job import files
with files.open_scratch() as scratch, files.write_whole(Path(sys.argv[1])) as file:
    (scratch / "model").write_text("half")
    print(scratch.parent, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, of this test alone."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def start_writer(target: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process in the middle of its work, and its scratch folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def test_what_a_living_process_uses_stays_and_what_a_killed_one_left_goes(
    temporary: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    process, scratch = start_writer(cache / "audit" / "audit.jsonl")
    (partial,) = (cache / "audit").iterdir()

    assert sweep_scratch() == 0
    assert sweep_partials(cache) == 0
    assert scratch.is_dir()
    assert partial.is_file()

    process.kill()
    process.communicate()
    assert sweep_scratch() == 1
    assert sweep_partials(cache) == 1
    assert not scratch.exists()
    assert not partial.exists()


def test_a_folder_that_somebody_made_by_hand_is_not_swept(temporary: Path) -> None:
    mine = temporary / "graft-releases" / "model"
    mine.mkdir(parents=True)
    assert sweep_scratch() == 0
    assert mine.is_dir()


def test_a_scratch_folder_is_gone_after_its_block_even_after_an_error(temporary: Path) -> None:
    def fail() -> None:
        with open_scratch() as scratch:
            (scratch / "half").touch()
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert not any(temporary.iterdir())


def test_without_a_folder_for_temporary_files_the_reason_is_an_error_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(files.NoScratch), open_scratch():
        raise AssertionError("it was opened")


def test_a_download_that_was_cut_off_stays_for_a_week(tmp_path: Path) -> None:
    young = tmp_path / "a.h5.0123456789abcdef.part"
    old = tmp_path / "b.h5.0123456789abcdef.part"
    others = tmp_path / "notes.part"
    for path in (young, old, others):
        path.write_bytes(b"half")
    week_ago = time.time() - files.UNUSED_SECONDS - 10
    for path in (old, others):
        os.utime(path, (week_ago, week_ago))
    assert sweep_partials(tmp_path) == 1
    assert sorted(tmp_path.iterdir()) == [young, others]


def test_a_run_sweeps_its_own_folders_of_the_cache_and_no_strangers(
    tmp_path: Path, temporary: Path
) -> None:
    """GRAFT_CACHE_DIR may be ~/.cache, with a million files of other programs."""
    cache = tmp_path / "cache"
    for name in ("audit", "features", "objects", "stranger", "stranger/audit"):
        (cache / name).mkdir(parents=True)
        (cache / name / PARTIAL).touch()
    given = {
        "GRAFT_DATASET_URI": (tmp_path / "nowhere").as_uri(),
        "GRAFT_OUTPUT_URI": (tmp_path / "models").as_uri(),
        "GRAFT_CACHE_DIR": str(cache),
    }
    context = pipeline.RunContext(telemetry=telemetry.silent(), stop=Stop(), keras_home=tmp_path)
    with pytest.raises(DatasetError):
        pipeline.run(settings.load(given), context)
    left = {path.parent.relative_to(cache).as_posix() for path in cache.rglob(PARTIAL)}
    assert left == {"objects", "stranger", "stranger/audit"}


def test_a_folder_as_a_store_sweeps_what_a_killed_upload_left(store: storage.Store) -> None:
    store.write("releases/1/manifest.json", b"{}")
    swept = 0
    if store.uri.startswith("file:"):
        folder = Path(store.uri.removeprefix("file://")) / "releases" / "1"
        (folder / PARTIAL).write_bytes(b"half")
        swept = 1
    assert store.sweep() == swept
    assert store.read("releases/1/manifest.json") == b"{}"

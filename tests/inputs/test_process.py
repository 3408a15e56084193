"""What a process inherits from a shell, a container or a colleague: the rows of inputs/process.md.

Only one of these imports TensorFlow.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tools.paths import ROOT

# `graft` as a console script starts it: without the working directory on the path.
SCRIPT = "import sys; sys.argv[0] = 'graft'; from job.__main__ import entry; sys.exit(entry())"
SETTINGS = {"GRAFT_DATASET_URI": "/data/flowers", "GRAFT_OUTPUT_URI": "/models"}
# A user id that no image knows.
STRANGER = 54_321


def start(
    *argv: str, environment: Mapping[str, str | None] = {}, **options: Any
) -> subprocess.Popen[str]:
    """`graft argv…` with the settings, and with these variables more or (None) less."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    given = {**inherited, **SETTINGS, "PYTHONPATH": str(ROOT), **environment}
    usual: dict[str, Any] = {
        "args": [sys.executable, "-c", SCRIPT, *argv],
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "env": {name: value for name, value in given.items() if value is not None},
    }
    return subprocess.Popen(**usual | options)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, list[str]]:
    """Exit code, answer, and the messages of the log."""
    out, err = process.communicate(timeout=120)
    messages = [json.loads(line).get("message", line) for line in err.splitlines()]
    return process.returncode, out, messages


# All code is imported before, since another user may not be allowed to read the interpreter's.
AS_A_STRANGER = """
import contextlib, io, os, sys
from job import supervision
from job.__main__ import main
with contextlib.redirect_stdout(io.StringIO()):
    main(["settings"])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
os.environ.pop("HOME")
if sys.argv[2]:
    os.environ["HOME"] = sys.argv[2]
for note in supervision.settle_surroundings():
    print(note, file=sys.stderr)
sys.exit(main(["settings"]))
"""


@pytest.mark.parametrize(
    ("home", "note"),
    [
        pytest.param("", "There is no home folder", id="no-home-and-no-entry"),
        pytest.param("/", "", id="home-is-the-root-folder"),
    ],
)
def test_a_user_without_a_home_reads_the_settings(home: str, note: str) -> None:
    if os.getuid() != 0:
        pytest.skip("only root may become a user without an entry")
    words = [sys.executable, "-c", AS_A_STRANGER, str(STRANGER), home]
    process = start(args=words, environment={"HOME": "/root"})
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    folder = json.loads(out)["GRAFT_CACHE_DIR"]
    assert folder.endswith("/.cache/graft")
    assert Path(folder).is_absolute()
    assert err.startswith(note)


@pytest.mark.parametrize(
    ("environment", "note"),
    [
        pytest.param({"PYTHONWARNINGS": "error"}, "Warnings are not errors", id="warnings-error"),
        pytest.param(
            {"PYTHONWARNINGS": "error::DeprecationWarning"},
            "Warnings are not errors",
            id="deprecations-error",
        ),
        pytest.param({"KERAS_BACKEND": "torch"}, "KERAS_BACKEND=torch", id="keras-on-torch"),
        pytest.param({"KERAS_BACKEND": "jax"}, "KERAS_BACKEND=jax", id="keras-on-jax"),
        pytest.param({"KERAS_BACKEND": "tensorflow"}, "", id="keras-on-tensorflow"),
    ],
)
def test_what_a_colleague_has_set_is_set_aside_and_said(
    environment: dict[str, str], note: str
) -> None:
    code, out, messages = finish(start("settings", environment=environment))
    assert code == 0
    assert json.loads(out)["GRAFT_DATASET_URI"] == "file:///data/flowers"
    if note:
        (message,) = messages
        assert note in message
    else:
        assert messages == []


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("job/__init__.py", id="stranger-s-job"),
        pytest.param("random.py", id="stranger-s-random"),
        pytest.param("keras/__init__.py", id="stranger-s-keras"),
    ],
)
def test_nothing_is_imported_from_the_working_directory(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("raise SystemExit('the stranger was imported')\n")
    # With -c, Python itself would put the working directory first.
    code, out, messages = finish(
        start("settings", cwd=tmp_path, args=[sys.executable, "-P", "-c", SCRIPT, "settings"])
    )
    assert code == 0, messages
    assert json.loads(out)["GRAFT_OUTPUT_URI"] == "file:///models"


CHILD = """
import json, subprocess, sys
from job import supervision
from job.export import packing
supervision.settle_surroundings()
done = subprocess.run([sys.executable, "-c", "import random; print(random.__file__)"],
                      capture_output=True, text=True)
print(done.stdout.strip() or done.stderr)
"""


def test_processes_that_a_run_starts_import_nothing_from_there_either(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('the stranger was imported')\n")
    done = subprocess.run(
        [sys.executable, "-P", "-c", CHILD],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert Path(done.stdout.strip()).parent == Path(os.__file__).parent


EXPORT = """
import sys, json
from pathlib import Path
from types import SimpleNamespace
from job.export import Exporter
from job.errors import ReleaseError
request = SimpleNamespace(model_dump_json=lambda: "{}")
with Exporter(Path(sys.argv[1])) as exporter:
    exporter.start(request)
    try:
        exporter.finish()
    except ReleaseError as error:
        print(error)
"""


def test_the_export_process_is_our_own_beside_a_strangers_job(tmp_path: Path) -> None:
    """An empty request is refused by our code."""
    (tmp_path / "job" / "export").mkdir(parents=True)
    for path in ("job/__init__.py", "job/export/__init__.py", "random.py"):
        (tmp_path / path).write_text("raise SystemExit('the stranger was imported')\n")
    done = subprocess.run(
        [sys.executable, "-P", "-c", EXPORT, str(tmp_path / "work")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert "stranger" not in done.stdout
    assert "Field required" in done.stdout


WORKER = """
import multiprocessing, sys
from job import files, supervision
if __name__ == "__main__":
    supervision.settle_surroundings()
    process = multiprocessing.get_context("spawn").Process(target=files.sweep_scratch)
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""


def test_a_spawned_process_is_our_own_beside_a_strangers_job(tmp_path: Path) -> None:
    """As those of several workers are. What it calls is in `job`, and spawning needs `random`."""
    script, here = tmp_path / "bin" / "graft.py", tmp_path / "here"
    script.parent.mkdir()
    script.write_text(WORKER)
    (here / "job").mkdir(parents=True)
    for path in ("job/__init__.py", "random.py"):
        (here / path).write_text("raise SystemExit('the stranger was imported')\n")
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        cwd=here,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_module_is_our_own_where_python_is_told_to_be_safe(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    for path in ("job/__init__.py", "job/__main__.py"):
        (tmp_path / path).write_text("raise SystemExit('the stranger was imported')\n")
    words = [sys.executable, "-P", "-m", "job", "settings"]
    code, out, messages = finish(start(cwd=tmp_path, args=words))
    assert code == 0, messages
    assert json.loads(out)["GRAFT_OUTPUT_URI"] == "file:///models"


@pytest.mark.parametrize(
    ("words", "import_path"),
    [
        pytest.param(("-m", "job"), f"{ROOT}", id="python-m"),
        pytest.param(("-P", "-m", "job"), f":{ROOT}", id="empty-entry-first"),
        pytest.param(("-P", "-m", "job"), f"{ROOT}:", id="empty-entry-last"),
        pytest.param(("-P", "-m", "job"), f"{ROOT}:.", id="dot"),
    ],
)
def test_the_working_directory_is_off_the_import_path_before_anything_is_imported(
    words: tuple[str, ...], import_path: str, tmp_path: Path
) -> None:
    """`export PYTHONPATH=$PYTHONPATH:/lib` has an empty entry, which is the working directory."""
    for name in ("argparse", "logging", "random", "signal", "tempfile"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the stranger was imported')\n")
    code, out, messages = finish(
        start(
            args=[sys.executable, *words, "settings"],
            environment={"PYTHONPATH": import_path},
            cwd=tmp_path,
        )
    )
    assert code == 0, messages
    assert json.loads(out)["GRAFT_OUTPUT_URI"] == "file:///models"


@pytest.mark.parametrize(
    ("data", "code"),
    [pytest.param("/data", 0, id="absolute"), pytest.param("photos", 2, id="relative")],
)
def test_a_working_directory_that_was_removed_is_no_traceback(
    data: str, code: int, tmp_path: Path
) -> None:
    command = 'mkdir "$2" && cd "$2" && rmdir "$2" && exec "$0" -c "$1" settings "$3"'
    words = ["bash", "-c", command, sys.executable, SCRIPT, str(tmp_path / "gone"), data]
    ended, _, messages = finish(start(args=words))
    assert ended == code
    if code:
        assert "The working directory was removed: write an absolute path." in messages[0]
    else:
        assert messages == []


# Streams


@pytest.mark.parametrize(
    ("redirection", "code"),
    [
        pytest.param(">&-", 0, id="stdout-closed"),
        pytest.param("2>&-", 0, id="stderr-closed"),
        pytest.param("<&- >&- 2>&-", 0, id="all-closed"),
        pytest.param(">/dev/full", 2, id="stdout-full"),
        pytest.param("2>/dev/full", 0, id="stderr-full"),
        pytest.param("| true", 0, id="reader-gone"),
    ],
)
def test_a_stream_that_is_closed_or_full_ends_in_a_sentence(redirection: str, code: int) -> None:
    command = f'set -o pipefail; "$0" -c "$1" settings {redirection}'
    process = start(args=["bash", "-c", command, sys.executable, SCRIPT])
    ended, _, messages = finish(process)
    assert ended == code
    if code:
        assert messages == [
            "The answer cannot be written to stdout: No space left on device.",
        ]
    else:
        assert messages == []


def test_an_error_beside_a_full_stderr_keeps_its_exit_code() -> None:
    command = '"$0" -c "$1" run 2>/dev/full'
    process = start(
        args=["bash", "-c", command, sys.executable, SCRIPT],
        environment={"GRAFT_DATASET_URI": "gs://data"},
    )
    assert finish(process)[0] == 2


def test_what_native_code_writes_ends_in_no_file_while_stderr_is_closed(tmp_path: Path) -> None:
    """The next file that is opened would get descriptor 2."""
    script = (
        "import os, sys\n"
        "from job import supervision\n"
        "supervision.settle_surroundings()\n"
        "file = open(sys.argv[1], 'wb')\n"
        "os.write(2, b'native')\n"
        "file.write(b'content')\n"
    )
    target = tmp_path / "file"
    command = 'exec "$0" -c "$1" "$2" 2>&-'
    subprocess.run(["bash", "-c", command, sys.executable, script, target], check=True)
    assert target.read_bytes() == b"content"


# Keras

KERAS = """
from job import supervision
supervision.settle_surroundings()
import job.model, keras
layer = keras.layers.Conv2D(2, 3)
layer.build((None, 8, 8, 3))
print(keras.backend.backend(), layer.data_format, layer.kernel.shape, keras.config.floatx())
"""


def test_a_keras_json_of_a_colleague_changes_no_network(tmp_path: Path) -> None:
    """With the backend, the order of the axes and the precision of another project."""
    (tmp_path / "keras.json").write_text(
        json.dumps(
            {
                "backend": "torch",
                "image_data_format": "channels_first",
                "floatx": "float16",
                "epsilon": 1e-3,
            }
        )
    )
    done = subprocess.run(
        [sys.executable, "-c", KERAS],
        capture_output=True,
        text=True,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "jax"},
        check=False,
    )
    assert done.stdout.strip() == "tensorflow channels_last (3, 3, 3, 2) float32"


# Stops


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_of_a_run_that_waits_is_an_interrupted_run(
    number: signal.Signals, tmp_path: Path
) -> None:
    """It waits for a data set that is a named pipe, which nobody writes."""
    os.mkfifo(tmp_path / "data.csv")
    process = start(
        "run",
        environment={
            "GRAFT_DATASET_URI": str(tmp_path / "data.csv"),
            "GRAFT_OUTPUT_URI": str(tmp_path / "models"),
            "GRAFT_TELEMETRY_PORT": "0",
        },
    )
    assert process.stderr
    for line in process.stderr:
        if "survey begins" in line:
            break
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    result = json.loads(err.splitlines()[-1])
    assert process.returncode == 75
    assert result["status"] == "interrupted"
    assert result["error"]["message"].startswith(number.name)

"""The supervising and the working process: stderr, signals, exit codes, and results of the dead.

Each test writes its own native lines, through the C library, so none depends on what a CPU makes
TensorFlow say.
"""

import gc
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from job.supervision import LONGEST_LINE, import_large_packages, last_explanations

# For what takes a moment: only a failure, or a machine with much other work, takes so long.
SECONDS = 90
COMMAND = """
import ctypes, json, logging, os, signal, subprocess, sys, threading, time
from job import __main__ as command, telemetry

C = ctypes.CDLL(None)
native = lambda text: os.write(2, text if isinstance(text, bytes) else text.encode())

def work():
    telemetry.configure_logs(sys.stderr, sys.stderr.isatty())
    log = logging.getLogger("job")
{body}
    return 0

command.main = work
sys.argv = ["graft", *{verb!r}]
sys.exit(command.entry())
"""


def started(body: str, *verb: str, **options: Any) -> subprocess.Popen[str]:
    """A process whose work is `body`, under the name of `verb`."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    script = COMMAND.format(body=lines, verb=verb)
    usual: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", script], **usual | options)


def ended(body: str, *verb: str, **options: Any) -> tuple[int, list[dict[str, Any]]]:
    """Its exit code, and its stderr, which has to be JSON objects."""
    process = started(body, *verb, **options)
    _, err = process.communicate(timeout=SECONDS)
    return process.returncode, [json.loads(line) for line in err.splitlines()]


def messages(records: list[dict[str, Any]], logger: str) -> list[str]:
    return [record["message"] for record in records if record.get("logger") == logger]


def on_terminal(body: str, *verb: str) -> tuple[int, str]:
    """Its exit code, and what a person saw."""
    ours, theirs = pty.openpty()
    process = started(body, *verb, stderr=theirs, stdout=theirs)
    os.close(theirs)
    seen = b""
    try:
        while data := os.read(ours, 4096):
            seen += data
    except OSError:  # Linux says so when the last one has closed the terminal
        pass
    os.close(ours)
    return process.wait(60), seen.decode()


def test_a_native_line_becomes_a_record_that_alarms_nobody() -> None:
    code, records = ended("C.perror(b'libnative')\nlog.info('ours')")
    (line,) = messages(records, "native")
    assert code == 0
    assert line.startswith("libnative: ")
    assert {record["level"] for record in records} == {"info"}
    assert messages(records, "job") == ["ours"]


def test_a_native_line_names_the_run_of_the_lines_before_it() -> None:
    body = "telemetry.name_run(model='flowers', run_id='0123')\nlog.info('ours')\ntime.sleep(0.5)"
    _, records = ended(f"{body}\nnative('theirs\\n')")
    (line,) = (record for record in records if record["logger"] == "native")
    assert (line["model"], line["run_id"]) == ("flowers", "0123")
    assert line["severity"] == "INFO"


def test_a_native_line_without_an_end_swallows_no_record() -> None:
    _, records = ended("native('half a ')\nlog.info('ours')\nnative('line')")
    assert messages(records, "job") == ["ours"]
    assert messages(records, "native") == ["half a line"]


def test_native_lines_and_records_of_many_threads_tear_each_other_nowhere() -> None:
    body = """
def talk(number):
    for turn in range(200):
        native(f"native {number} {turn} " + "x" * 3_000 + chr(10))
        log.info("ours %d %d %s", number, turn, "y" * 5_000)
threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
    code, records = ended(body.strip())
    assert code == 0
    assert len(messages(records, "job")) == 800
    assert len(messages(records, "native")) == 800


def test_undecodable_and_endless_lines_are_records_too() -> None:
    _, records = ended("native(b'caf\\xe9\\n')\nnative(b'z' * 50_000)")
    first, *rest = messages(records, "native")
    assert first == "caf\N{REPLACEMENT CHARACTER}"
    assert max(map(len, rest)) <= LONGEST_LINE
    assert sum(map(len, rest)) == 50_000


def test_a_slow_reader_loses_nothing() -> None:
    process = started(
        "for turn in range(3_000): native(f'{turn} ' + 'x' * 100 + chr(10)); log.info('%d', turn)"
    )
    assert process.stderr
    time.sleep(1.5)
    records = [json.loads(line) for line in process.stderr]
    process.communicate()
    assert messages(records, "job") == [str(turn) for turn in range(3_000)]
    assert [line.split()[0] for line in messages(records, "native")] == [
        str(turn) for turn in range(3_000)
    ]


@pytest.mark.parametrize("thread", [False, True])
def test_an_error_that_nobody_caught_is_one_record(thread: bool) -> None:
    body = "def fail(): raise OSError('no such luck')\n"
    body += "t = threading.Thread(target=fail); t.start(); t.join()" if thread else "fail()"
    code, records = ended(body)
    (record,) = records
    assert code == (0 if thread else 1)
    assert record["level"] == "critical"
    assert "no such luck" in record["exception"]


def test_what_python_code_prints_to_stderr_is_a_record() -> None:
    _, records = ended("print('by hand', file=sys.stderr)\nprint({'a': 1}, file=sys.stderr)")
    assert messages(records, "native") == ["by hand", "{'a': 1}"]


def test_children_that_inherit_stderr_write_records_and_are_not_waited_for() -> None:
    began = time.monotonic()
    code, records = ended(
        "subprocess.Popen(['sh', '-c', 'echo a child >&2; sleep 30'], stdout=subprocess.DEVNULL)\n"
        "time.sleep(0.5)"
    )
    assert code == 0
    assert messages(records, "native") == ["a child"]
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("code", [0, 3, 75])
def test_the_exit_code_passes_through(code: int) -> None:
    assert ended(f"return {code}")[0] == code
    assert ended(f"sys.exit({code})")[0] == code


def test_what_is_registered_for_the_end_is_done_and_buffered_output_arrives() -> None:
    process = started("import atexit\nprint('work')\natexit.register(print, 'the end')")
    out, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert out.splitlines() == ["work", "the end"]


def test_scikit_learn_is_not_imported_by_keras_and_is_not_missed() -> None:
    body = "import keras\nlog.info(repr(sys.modules['sklearn']))"
    code, records = ended(body)
    assert code == 0
    assert messages(records, "job") == ["None"]


@pytest.mark.parametrize("before", [True, False])
def test_garbage_is_collected_after_a_large_import_as_before_it(before: bool) -> None:
    was_enabled = gc.isenabled()
    try:
        (gc.enable if before else gc.disable)()
        with import_large_packages():
            assert not gc.isenabled()
        assert gc.isenabled() == before
    finally:
        (gc.enable if was_enabled else gc.disable)()


def test_a_crash_of_a_run_leaves_its_last_words_and_a_result_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    environment = os.environ | {"GRAFT_RESULT_PATH": str(path)}
    body = (
        "native('I0000 00:00:00.1 a.cc:1] chatter\\n')\nnative('terminate called\\n')\nos.abort()"
    )
    code, records = ended(body, "run", env=environment)
    assert code == 128 + signal.SIGABRT
    assert "terminate called" in messages(records, "native")
    line = {name: records[-1][name] for name in ("time", "severity")}
    assert json.loads(path.read_text()) | line == records[-1]
    assert records[-1]["status"] == "failed"
    assert records[-1]["error"]["kind"] == "killed"
    assert "signal 6" in records[-1]["error"]["message"]
    assert "terminate called" in records[-1]["error"]["message"]
    assert "chatter" not in records[-1]["error"]["message"]
    (failure,) = (record for record in records if record.get("severity") == "ERROR")
    assert failure["fields"]["kind"] == "killed"


def test_a_run_that_the_kernel_kills_ends_with_137_and_says_that_it_is_mostly_memory() -> None:
    code, records = ended("os.kill(os.getpid(), signal.SIGKILL)", "run")
    assert code == 137
    assert "resources.limits.memory" in records[-1]["error"]["cure"]


def test_a_run_that_native_code_ends_without_a_word_has_a_result_too() -> None:
    code, records = ended("os._exit(0)", "run")
    assert code == 1
    assert records[-1]["status"] == "failed"


def test_a_wait_that_crashes_gives_its_result_as_the_answer() -> None:
    process = started("os.abort()", "submit", "flowers", "--wait")
    out, err = process.communicate()
    assert process.returncode == 134
    assert json.loads(out)["error"]["kind"] == "killed"
    assert all(json.loads(line) for line in err.splitlines())


def test_another_verb_that_crashes_says_so_and_has_no_result() -> None:
    code, records = ended("os.abort()", "plan")
    assert code == 134
    assert "signal 6" in records[-1]["message"]
    assert records[-1]["level"] == "error"


def test_the_result_stays_the_last_line_whatever_native_code_says_later_and_however_it_ends() -> (
    None
):
    body = "print('{\"status\": \"released\"}', file=sys.stderr)\nnative('good bye\\n')\nos.abort()"
    code, records = ended(body, "run")
    assert code == 134
    assert messages(records, "native") == ["good bye"]
    assert records[-1] == {"status": "released"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_is_passed_on(number: signal.Signals) -> None:
    body = (
        f"signal.signal({int(number)}, lambda *_: sys.exit(42))\nlog.info('ready')\ntime.sleep(60)"
    )
    process = started(body)
    assert process.stderr
    assert "ready" in process.stderr.readline()
    process.send_signal(number)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 42


def begun(body: str, *verb: str, **options: Any) -> subprocess.Popen[str]:
    """A process whose work has said that it is ready."""
    process = started(body, *verb, **options)
    assert process.stderr
    assert "ready" in process.stderr.readline()
    return process


def await_line(process: subprocess.Popen[str], words: str) -> str:
    assert process.stderr
    for line in process.stderr:
        if words in line:
            return line
    raise AssertionError(f"{words!r} was not said")


# Native code in the main thread: no handler of Python's runs until it returns, after minutes.
DEAF = """
import hashlib
signal.signal(signal.SIGINT, lambda *_: None)
log.info('ready')
hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)
"""
# Work that would be saved at its next safe point.
SAVING = """
struck = []
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, lambda number, _: struck.append(number))
log.info('ready')
until = time.monotonic() + 1.5
while time.monotonic() < until: time.sleep(0.05)
log.info('saved')
return 75 if struck else 0
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_stop_of_a_run_is_confirmed_in_a_sentence(number: signal.Signals) -> None:
    process = begun(SAVING, "run")
    process.send_signal(number)
    record = json.loads(await_line(process, "safe point"))
    assert record["level"] == "info"
    assert record["message"].startswith(number.name)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 75


def test_the_second_ctrl_c_ends_a_run_at_once_whatever_native_code_does() -> None:
    process = begun(DEAF, "run")
    process.send_signal(signal.SIGINT)
    await_line(process, "safe point")
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=SECONDS)
    result = json.loads(err.splitlines()[-1])
    assert process.returncode == 75
    assert result["status"] == "interrupted"
    assert result["error"]["message"] == "A second SIGINT (Ctrl-C) ended the work at once."
    assert "last checkpoint" in result["error"]["cure"]


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param([signal.SIGINT, signal.SIGINT], id="timeout-signals-process-and-group"),
        pytest.param([signal.SIGTERM, None, signal.SIGTERM], id="kubelet-repeats-sigterm"),
        pytest.param([signal.SIGHUP, None, signal.SIGHUP], id="shell-repeats-sighup"),
        pytest.param([signal.SIGINT, None, signal.SIGTERM], id="sigterm-after-ctrl-c"),
    ],
)
def test_a_repeated_stop_lets_the_work_save(numbers: list[signal.Signals | None]) -> None:
    process = begun(SAVING, "run")
    for number in numbers:
        if number is None:
            await_line(process, "safe point")
            time.sleep(0.3)
        else:
            process.send_signal(number)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 75
    assert "saved" in err


def test_under_nohup_a_closed_terminal_stops_nothing() -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = begun(SAVING, "run", preexec_fn=ignore)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert "safe point" not in err


def test_a_background_job_of_a_script_hears_the_sigint_that_is_sent_to_it() -> None:
    """A shell that is not interactive starts it with SIGINT ignored."""

    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    process = begun(SAVING, "run", preexec_fn=ignore)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 75
    assert "safe point" in err


def test_ctrl_c_in_another_verb_is_one_sentence() -> None:
    body = "command.main = original\nreturn original(['plan'])"
    script = COMMAND.replace("def work", "original = command.main\ndef work")
    script = script.replace(
        "command.main = work",
        "import job.commands.training as training\n"
        "def slow(_): logging.getLogger('job').info('ready'); time.sleep(60)\n"
        "training.plan = slow\ncommand.main = work",
    )
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    process = subprocess.Popen(
        [sys.executable, "-c", script.format(body=lines, verb=["plan"])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    await_line(process, "ready")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=SECONDS)
    (record,) = map(json.loads, err.splitlines())
    assert process.returncode == 75
    assert record["message"] == "SIGINT (Ctrl-C) was received."


def ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def block_sigterm() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


@pytest.mark.parametrize("inherited", [None, ignore_sigterm, block_sigterm])
def test_a_stop_before_the_work_has_a_handler_is_an_interrupted_run(
    inherited: Callable[[], None] | None,
) -> None:
    process = started("log.info('ready')\ntime.sleep(60)", "run", preexec_fn=inherited)
    assert process.stderr
    assert "ready" in process.stderr.readline()
    process.terminate()
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 75
    assert json.loads(err.splitlines()[-1])["status"] == "interrupted"


def test_a_stop_at_any_moment_of_the_start_is_lost_to_nobody() -> None:
    """From when the supervisor handles signals. Before, they end it like any process."""
    for delay in (0.0, 0.1, 0.2, 0.3):
        process = subprocess.Popen(
            [sys.executable, "-m", "job", "run"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 20
        while "SigBlk:\t0000000000014003" not in Path(f"/proc/{process.pid}/status").read_text():
            assert time.monotonic() < deadline
            if process.poll() is not None:
                break
        time.sleep(delay)
        process.terminate()
        _, err = process.communicate(timeout=SECONDS)
        assert process.returncode in (75, 2)  # 2: without settings it had come to its end
        assert json.loads(err.splitlines()[-1])["status"] in ("interrupted", "failed")


def test_ctrl_c_at_a_terminal_strikes_the_work_once() -> None:
    body = """
def strike(*_): print("struck", flush=True)
signal.signal(signal.SIGINT, strike)
print("ready", flush=True)
until = time.monotonic() + 1.5
while time.monotonic() < until: time.sleep(0.1)
"""
    ours, theirs = pty.openpty()
    # A session of its own, whose terminal is the pty: only then does Ctrl-C become a signal.
    own = "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    own += "os.execv(sys.argv[1], sys.argv[1:])"
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    script = COMMAND.format(body=lines, verb=["plan"])
    command = [sys.executable, "-c", own, sys.executable, "-c", script]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen, sent = b"", False
    try:
        while data := os.read(ours, 4096):
            seen += data
            if b"ready" in seen and not sent:
                os.write(ours, b"\x03")
                sent = True
    except OSError:
        pass
    os.close(ours)
    assert process.wait(20) == 0, seen
    assert seen.count(b"struck") == 1


def test_the_work_dies_with_a_started_process_that_is_killed() -> None:
    process = started("log.info('%d', os.getpid())\ntime.sleep(60)")
    assert process.stderr
    worker = int(json.loads(process.stderr.readline())["message"])
    assert worker != process.pid
    process.kill()
    process.communicate(timeout=SECONDS)
    deadline = time.monotonic() + 10
    while (
        Path(f"/proc/{worker}").exists()
        and "zombie" not in Path(f"/proc/{worker}/status").read_text()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_reader_that_is_gone_does_not_end_the_work(tmp_path: Path) -> None:
    read, write = os.pipe()
    done = tmp_path / "done"
    process = started(
        f"for _ in range(2_000): log.info('x' * 100)\nopen({str(done)!r}, 'w').close()",
        stderr=write,
    )
    os.close(write)
    os.close(read)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert done.exists()


def test_on_a_terminal_native_lines_stay_away_from_bar_and_answer() -> None:
    code, seen = on_terminal("native('noise\\n')\nlog.info('ours')\nprint('the answer')")
    assert code == 0
    assert "noise" not in seen
    assert "ours" in seen
    assert "the answer" in seen


def test_on_a_terminal_a_crash_shows_its_last_words_as_they_are() -> None:
    code, seen = on_terminal("native('terminate called\\n')\nos.abort()", "run")
    assert code == 134
    assert "terminate called\r\n" in seen
    assert "killed by signal 6" in seen
    assert "{" not in seen


def test_what_native_loggers_say_at_level_info_explains_nothing() -> None:
    words = [
        "2026-01-02 03:04:05.678901: W a.cc:1] Allocation of 9 exceeds 10% of free system memory.",
        "Killed",
    ]
    chatter = [
        "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
        "I0000 00:00:1700000000.123456    7 port.cc:153] oneDNN custom operations are on.",
        "2026-01-02 03:04:05.678901: I cpu_feature_guard.cc:210] This TensorFlow binary",
        "",
    ]
    assert last_explanations([*chatter, *words, *chatter]) == tuple(words)
    assert len(last_explanations(str(number) for number in range(100))) == 12


def test_the_started_process_imports_nothing_heavy() -> None:
    script = (
        "import sys, json, job.__main__; "
        "print(json.dumps([name.split('.')[0] for name in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not {"pydantic", "prometheus_client", "rich", "numpy", "boto3"} & set(
        json.loads(done.stdout)
    )

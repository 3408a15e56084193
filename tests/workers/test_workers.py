"""The devices of a process, and the request to stop it."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from job.errors import Interrupted, SettingsError, WorkerStopped
from job.pipeline import RunContext
from job.result import failed
from job.settings import DevicesSettings
from job.telemetry import silent
from job.workers import SINGLE_WORKER, Stop, Terminated, WorkerGroup, Workers, join

STOPPED = "SIGTERM was received"
NAMES = {
    signal.SIGTERM: "SIGTERM",
    signal.SIGINT: "SIGINT (Ctrl-C)",
    signal.SIGHUP: "SIGHUP",
}


@pytest.fixture
def stop() -> Stop:
    stop = Stop()
    stop.install()
    return stop


def ask_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_ends_the_phase_at_once(stop: Stop) -> None:
    began = time.monotonic()
    threading.Timer(0.1, ask_to_stop).start()
    with pytest.raises(Terminated) as caught:
        time.sleep(30)
    assert time.monotonic() - began < 10
    assert stop.requested
    assert STOPPED in caught.value.as_error().message


@pytest.mark.parametrize("number", NAMES)
def test_each_signal_that_asks_to_stop_is_raised_and_told_by_its_name(
    stop: Stop, number: signal.Signals
) -> None:
    with pytest.raises(Terminated) as caught:
        signal.raise_signal(number)
    assert caught.value.as_error().message == f"{NAMES[number]} was received."
    assert stop.requested


@pytest.mark.parametrize("number", NAMES)
def test_each_signal_waits_for_the_safe_point_of_a_phase_that_asks(
    stop: Stop, number: signal.Signals
) -> None:
    done = []

    def work() -> None:
        with stop.deferred():
            signal.raise_signal(number)
            done.append("saved")

    with pytest.raises(Interrupted) as caught:
        work()
    assert done == ["saved"]
    assert caught.value.message == f"{NAMES[number]} was received."


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = Stop()
    stop.install()
    signal.raise_signal(signal.SIGHUP)
    assert not stop.requested


def test_no_library_swallows_the_signal(stop: Stop) -> None:
    class Careless(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            try:
                ask_to_stop()
            except Exception:  # noqa: BLE001 - as logging's own handlers do
                self.handleError(record)

    logger = logging.Logger("careless")
    logger.addHandler(Careless())
    with pytest.raises(Terminated):
        logger.warning("hello")


def swallow() -> None:
    """What native code does with an exception that a signal handler raises inside it."""
    with contextlib.suppress(Terminated):
        ask_to_stop()


def test_a_signal_that_native_code_swallowed_keeps_the_next_phase_from_beginning(
    stop: Stop, tmp_path: Path
) -> None:
    context = RunContext(telemetry=silent(), stop=stop, keras_home=tmp_path)
    with context.phase("audit"):
        swallow()
    with pytest.raises(Interrupted, match=STOPPED), context.phase("model"):
        raise AssertionError("it began")


def test_what_follows_a_signal_is_told_as_the_stop_unless_it_says_so_itself(stop: Stop) -> None:
    fault, ours = TypeError("a fault"), Interrupted("The wait was stopped; the run goes on.")
    assert stop.explain(fault) is fault
    swallow()
    assert STOPPED in str(stop.explain(fault))
    assert stop.explain(ours) is ours


def test_an_error_that_native_code_made_of_a_signal_is_told_as_the_stop(tmp_path: Path) -> None:
    """TensorFlow's own flatten, struck while it imports, ends with a SystemError or a TypeError."""
    done = subprocess.run(
        [sys.executable, "-c", STRUCK], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 75, done.stderr
    assert json.loads(done.stderr.splitlines()[-1])["error"]["kind"] == "interrupted"


STRUCK = """
import contextlib, os, signal, sys
from job import __main__, settings

def load(_):
    with contextlib.suppress(BaseException):
        os.kill(os.getpid(), signal.SIGTERM)
    raise SystemError("returned a result with an exception set")

settings.load = load
sys.exit(__main__.main(["run"]))
"""


def test_a_phase_that_asks_for_itself_is_not_cut_off(stop: Stop) -> None:
    steps: list[int | str] = []

    def work() -> None:
        with stop.deferred():
            for step in range(5):
                if step == 2:
                    ask_to_stop()
                if stop.requested:
                    steps.append("saved")
                    return
                steps.append(step)

    with pytest.raises(Interrupted, match=STOPPED):
        work()
    assert steps == [0, 1, "saved"]


def test_a_worker_that_another_one_has_stopped_ends_with_a_code_of_its_own(stop: Stop) -> None:
    def work() -> None:
        with stop.deferred():
            stop.follow_others()

    with pytest.raises(WorkerStopped, match="Another worker") as caught:
        work()
    assert caught.value.exit_code == 76
    assert failed(caught.value).status == "interrupted"


def test_a_signal_of_its_own_outweighs_that_of_another_worker(stop: Stop) -> None:
    def work() -> None:
        with stop.deferred():
            stop.follow_others()
            ask_to_stop()

    with pytest.raises(Interrupted, match=STOPPED) as caught:
        work()
    assert caught.value.exit_code == 75


def test_without_a_signal_nothing_happens(stop: Stop) -> None:
    with stop.deferred():
        stop.check()
    stop.check()
    assert not stop.requested


def test_a_second_signal_does_not_disturb_the_end_that_the_first_one_began(stop: Stop) -> None:
    with pytest.raises(Terminated):
        ask_to_stop()
    ask_to_stop()
    time.sleep(0.05)


def test_a_signal_after_the_outcome_does_not_change_it(stop: Stop) -> None:
    stop.ignore()
    ask_to_stop()
    time.sleep(0.05)
    assert not stop.requested


def test_a_failure_while_deferred_is_not_hidden_by_the_signal(stop: Stop) -> None:
    def work() -> None:
        with stop.deferred():
            ask_to_stop()
            raise ValueError("the disk is full")

    with pytest.raises(ValueError, match="the disk is full"):
        work()


@pytest.mark.parametrize(
    ("asked", "bfloat16", "policy"),
    [
        ("auto", True, "mixed_bfloat16"),
        ("auto", False, "float32"),
        ("float32", True, "float32"),
        ("bfloat16", False, "mixed_bfloat16"),
        ("float16", True, "mixed_float16"),
    ],
)
def test_precision_follows_the_setting_or_the_devices(
    asked: str, bfloat16: bool, policy: str
) -> None:
    assert (
        Workers(
            strategy=None, replicas=1, devices=("CPU:0",), bfloat16=bfloat16, fingerprint=""
        ).dtype_policy(asked)
        == policy
    )


def tf_config(kind: str = "worker", index: object = 1, **jobs: object) -> str:
    cluster = jobs or {"worker": ["a:2222", "b:2222"]}
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


def test_without_tf_config_a_worker_is_alone_and_the_chief() -> None:
    assert WorkerGroup.parse("") == SINGLE_WORKER
    assert (SINGLE_WORKER.size, SINGLE_WORKER.chief) == (1, True)


def test_tf_config_names_the_workers_and_the_first_is_the_chief() -> None:
    assert WorkerGroup.parse(tf_config()) == WorkerGroup(("a:2222", "b:2222"), 1)
    assert not WorkerGroup.parse(tf_config()).chief
    assert WorkerGroup.parse(tf_config(index="0")).chief


def test_a_chief_of_its_own_as_some_operators_write_it_comes_first() -> None:
    both = {"chief": ["c:1"], "worker": ["a:1", "b:1"]}
    assert WorkerGroup.parse(tf_config("worker", 1, **both)) == WorkerGroup(
        ("c:1", "a:1", "b:1"), 2
    )
    assert WorkerGroup.parse(tf_config("chief", 0, **both)).chief


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "JSONDecodeError"),
        ("[]", "TypeError"),
        ("{}", "KeyError 'cluster'"),
        (tf_config(index=2), "there is no worker of index 2"),
        (tf_config(kind="ps"), "KeyError 'ps'"),
        (tf_config(worker=["a:1"], ps=["b:1"]), "tasks of the kind ps"),
        (tf_config(worker=["a:1", "a:1"]), "an address occurs twice"),
    ],
)
def test_a_tf_config_that_describes_no_workers_is_refused_with_an_example(
    text: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=said) as refused:
        WorkerGroup.parse(text)
    assert text in refused.value.message
    assert '"task": {"type": "worker", "index": 0}' in refused.value.cure


def test_a_rehearsal_of_several_gpus_is_for_one_worker() -> None:
    with pytest.raises(SettingsError, match="GRAFT_DEVICES_LOGICAL_CPUS=2"):
        join(DevicesSettings(logical_cpus=2), WorkerGroup(("a:1", "b:1"), 0))


JOIN = """
import signal
from job import workers
from job.errors import AcceleratorMissing
from job.settings import DevicesSettings
from job.workers import Stop

stop = Stop()
try:
    workers.join(DevicesSettings(gpus=1))
except AcceleratorMissing as error:
    print(error.exit_code, error)
team = workers.join(DevicesSettings(logical_cpus=2, threads=1))
stop.install()
kind = type(team.strategy).__name__
print(team.replicas, len(team.devices), kind, team.bfloat16, team.dtype_policy("auto"))
print(team.fingerprint)
print(signal.getsignal(signal.SIGTERM) == stop._on_signal)

import tensorflow as tf
print(tf.config.threading.get_intra_op_parallelism_threads())
"""


def test_devices_are_joined_as_the_settings_say() -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.run(
        [sys.executable, "-c", JOIN], env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    *missing, team, fingerprint, installed, threads = process.stdout.splitlines()
    assert missing[0].startswith("75 0 GPUs are visible; GRAFT_DEVICES_GPUS=1 promises more.")
    assert team == "2 2 MirroredStrategy False float32"
    assert fingerprint.endswith("; 1 thread; 2 devices")
    assert (installed, threads) == ("True", "1")

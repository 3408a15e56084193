"""A worker that is not the chief, around the moment at which the chief's release appears."""

import os
import signal
import threading
from pathlib import Path

import pytest

from job import pipeline
from job.dataset import Dataset
from job.pipeline import RunContext, RunInputs
from job.settings import load
from job.telemetry import silent
from job.workers import Stop, Terminated, WorkerGroup
from tests.pipeline.conftest import Released

LONG_ENOUGH_TO_LOOK_TWICE_SECONDS = 1.2
# Longer than any test: joining the others would hang it.
GROUP = WorkerGroup(("127.0.0.1:9", "127.0.0.1:10"), 1)


@pytest.fixture
def stop() -> Stop:
    return Stop()


@pytest.fixture
def context(stop: Stop, tmp_path: Path) -> RunContext:
    return RunContext(telemetry=silent(), stop=stop, keras_home=tmp_path, worker_group=GROUP)


@pytest.fixture
def inputs(released: Released, tmp_path: Path) -> RunInputs:
    """The inputs of a run whose release is there, and whose checkpoints are gone."""
    settings = load(released.copied(tmp_path).settings | {"GRAFT_CACHE_DIR": str(tmp_path)})
    data = Dataset(records=(), digest="", listing="", ignored=())
    return RunInputs(settings=settings, data=data, run_id=released.ended.result["run_id"])


@pytest.fixture
def manifest(inputs: RunInputs, tmp_path: Path) -> Path:
    path = tmp_path / "colours" / "releases" / inputs.run_id / "manifest.json"
    assert path.exists()
    return path


def test_a_worker_that_starts_after_the_release_joins_nobody(
    inputs: RunInputs, context: RunContext
) -> None:
    pipeline._train_with_other_workers(inputs, context)


def test_a_worker_that_tells_of_a_promotion_has_seen_to_it(
    inputs: RunInputs, context: RunContext, manifest: Path
) -> None:
    """Seed 0 of the scene `workers`: the chief is killed between the manifest and the pointer."""
    pointer = manifest.parents[2] / "promoted.json"
    pointer.unlink()
    result = pipeline._wait_for_release(inputs, context)
    assert result.promoted
    assert inputs.run_id in pointer.read_text()


def test_a_worker_that_is_stopped_once_the_release_is_there_reports_it(
    inputs: RunInputs, context: RunContext, stop: Stop, manifest: Path
) -> None:
    stop.install()
    hidden = manifest.rename(manifest.with_suffix(".hidden"))

    def end_the_job() -> None:
        hidden.rename(manifest)
        os.kill(os.getpid(), signal.SIGTERM)

    timer = threading.Timer(LONG_ENOUGH_TO_LOOK_TWICE_SECONDS, end_the_job)
    timer.start()
    try:
        result = pipeline._wait_for_release(inputs, context)
    finally:
        timer.join()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert stop.raised
    assert (result.status, result.run_id, result.exit_code) == ("released", inputs.run_id, 0)


def test_a_worker_that_is_stopped_before_the_release_is_interrupted(
    inputs: RunInputs, context: RunContext, stop: Stop, manifest: Path
) -> None:
    stop.install()
    manifest.unlink()
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    try:
        with pytest.raises(Terminated):
            pipeline._wait_for_release(inputs, context)
    finally:
        timer.join()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

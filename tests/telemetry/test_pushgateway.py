"""The outcome of runs in a real Pushgateway, as Prometheus would read it."""

import socket
import subprocess
from collections.abc import Iterator
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from job.result import Result
from job.settings import TelemetrySettings
from job.telemetry import RunEnded, serve
from tests.servers import wait_until_ready
from tools import promtool

pytestmark = pytest.mark.chart


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Pushgateway."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    written = tmp_path_factory.mktemp("pushgateway") / "log"
    command = [str(promtool.binary(promtool.PUSHGATEWAY)), f"--web.listen-address={address}"]
    with written.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_until_ready(process, f"http://{address}/-/ready", written)
            yield f"http://{address}"
        finally:
            process.terminate()


def end_run(gateway: str, name: str, result: Result) -> None:
    with serve(TelemetrySettings(port=0, push_url=gateway), name) as telemetry:
        telemetry.emit(RunEnded(result.as_dict()))


def read_series(gateway: str, model: str) -> dict[tuple[str, ...], float]:
    """The series of a model: its value by name and by the labels that are not the group's."""
    with urlopen(f"{gateway}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            if labels.pop("model", "") == model:
                own = [labels[name] for name in sorted(labels) if name in ("status", "metric")]
                series[(sample.name, *own)] = sample.value
    return series


def test_a_failed_run_leaves_the_score_and_the_time_of_the_last_release(
    gateway: str, caplog: pytest.LogCaptureFixture
) -> None:
    end_run(gateway, "pets", Result(status="released", scores={"accuracy": 0.9}))
    end_run(gateway, "cars", Result(status="unchanged", new_images=3))
    before = read_series(gateway, "pets")
    assert before[("graft_last_status", "released")] == 1
    end_run(gateway, "pets", Result(status="failed"))
    after = read_series(gateway, "pets")
    assert after[("graft_last_status", "failed")] == 1
    assert after[("graft_last_status", "released")] == 0
    assert after[("graft_last_score", "accuracy")] == 0.9
    success = ("graft_last_success_timestamp_seconds",)
    assert after[success] == before[success]
    assert read_series(gateway, "cars")[("graft_last_new_images",)] == 3
    assert caplog.text == ""

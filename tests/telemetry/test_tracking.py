"""The outcome of runs in a real MLflow server, and a server that is in nobody's way."""

import logging
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from job import publish
from job.__main__ import main
from job.result import Failure, Result
from job.storage import connect
from job.telemetry import TrackedRun, TrackingServer, start_recording
from job.telemetry.tracking import record
from tests.publish.test_releasing import make_release
from tests.servers import wait_until_ready
from tools import environments


def outcome(run_id: str = "1a", **changes: Any) -> TrackedRun:
    values: dict[str, Any] = {
        "status": "released",
        "run_id": run_id,
        "release": f"s3://models/pets/releases/{run_id}",
        "promoted": True,
        "scores": {"accuracy": 0.75},
        "plan": "none",
        "seconds": {"training": 2.0, "export": 1.0},
        "reason": "No champion yet.",
    }
    result = Result(**(values | changes))
    return TrackedRun(model="pets", result=result.as_dict(), params={"GRAFT_SEED": 3})


@pytest.mark.parametrize(
    ("given", "address", "authorization"),
    [
        ({"MLFLOW_TRACKING_URI": "http://mlflow:5000/"}, "http://mlflow:5000", ""),
        (
            {"MLFLOW_TRACKING_URI": "https://m", "MLFLOW_TRACKING_TOKEN": "t"},
            "https://m",
            "Bearer t",
        ),
        (
            {
                "MLFLOW_TRACKING_URI": "https://m",
                "MLFLOW_TRACKING_USERNAME": "ann",
                "MLFLOW_TRACKING_PASSWORD": "pw",
            },
            "https://m",
            "Basic YW5uOnB3",
        ),
    ],
)
def test_the_server_is_described_as_for_mlflows_own_client(
    given: dict[str, str], address: str, authorization: str
) -> None:
    server = TrackingServer.find(given)
    assert server
    assert (server.address, server.authorization) == (address, authorization)
    assert "pw" not in repr(server)
    assert "Bearer" not in repr(server)


@pytest.mark.parametrize("uri", ["", "databricks", "file:///mlruns", "sqlite:///m.db"])
def test_without_an_address_of_http_nobody_is_told(uri: str) -> None:
    assert TrackingServer.find({"MLFLOW_TRACKING_URI": uri}) is None


def test_a_server_that_is_away_costs_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    start_recording(TrackingServer(address=f"http://127.0.0.1:{port}"), outcome()).wait()
    assert "MLflow has not recorded the outcome: ConnectionRefusedError" in caplog.text


def test_a_server_that_never_answers_is_not_waited_for(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("job.telemetry.tracking.DEADLINE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        start_recording(TrackingServer(address=address), outcome()).wait()
    assert "MLflow has not recorded the outcome: no answer in time" in caplog.text


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    """A real MLflow server in an environment of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [str(environments.python("mlflow")), "-m", "mlflow", "server", "--port", port]
    command += ["--backend-store-uri", f"sqlite:///{folder}/m.db", "--workers", "1"]
    command += ["--default-artifact-root", str(folder / "artifacts")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            wait_until_ready(process, f"http://127.0.0.1:{port}/health", folder / "log")
            yield TrackingServer(address=f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            process.wait()


def champion_of(server: TrackingServer, model: str = "pets") -> dict[str, Any] | None:
    found = server.get("registered-models/alias", name=model, alias="champion")
    version: dict[str, Any] | None = found["model_version"] if found else None
    return version


def runs_of(server: TrackingServer, experiment: str = "pets") -> list[dict[str, Any]]:
    found = server.get("experiments/get-by-name", experiment_name=experiment)
    known = server.post("runs/search", experiment_ids=[found["experiment"]["experiment_id"]])
    runs: list[dict[str, Any]] = known.get("runs", [])
    return runs


@pytest.mark.chart
def test_the_alias_champion_follows_promotions_and_roll_backs(mlflow: TrackingServer) -> None:
    record(mlflow, outcome("1a"))
    first = champion_of(mlflow)
    assert first
    assert first["source"] == "s3://models/pets/releases/1a"

    record(mlflow, outcome("2b", promoted=False))
    assert champion_of(mlflow) == first
    record(mlflow, outcome("3c"))
    third = champion_of(mlflow)
    assert third
    assert third["source"].endswith("/3c")
    # A night that changes nothing, and a roll-back by hand.
    record(mlflow, outcome("3c", status="unchanged"))
    record(mlflow, outcome("1a", status="unchanged"))
    again = champion_of(mlflow)
    assert again
    assert again["version"] == first["version"]

    runs = {run["info"]["run_name"]: run for run in runs_of(mlflow)}
    assert set(runs) == {"1a", "2b", "3c"}
    assert len(runs_of(mlflow)) == 3
    assert {run["info"]["status"] for run in runs.values()} == {"FINISHED"}
    data = runs["1a"]["data"]
    metrics = {row["key"]: row["value"] for row in data["metrics"]}
    assert metrics == {"accuracy": 0.75, "seconds": 3.0}
    assert data["params"] == [{"key": "GRAFT_SEED", "value": "3"}]
    tags = {row["key"]: row["value"] for row in data["tags"]}
    assert tags["graft.reason"] == "No champion yet."
    assert first["run_id"] == runs["1a"]["info"]["run_id"]


@pytest.mark.chart
def test_a_failed_run_is_a_failed_run_there_and_an_interrupted_one_is_not_there(
    mlflow: TrackingServer,
) -> None:
    server = TrackingServer(address=mlflow.address, experiment="failures")
    error = Failure(kind="dataset", message="No images.")
    nothing: dict[str, Any] = {"release": None, "promoted": False, "scores": {}, "plan": None}
    record(server, outcome("4d", status="failed", error=error, **nothing))
    record(server, outcome("5e", status="interrupted", error=error, **nothing))
    # MLflow refuses addresses of a disk as those of a version.
    record(server, outcome("6f", release="file:///models/pets/releases/6f"))
    found = {run["info"]["run_name"]: run["info"]["status"] for run in runs_of(server, "failures")}
    assert found == {"4d": "FAILED", "6f": "FINISHED"}


@pytest.mark.chart
def test_graft_promote_moves_the_alias(
    mlflow: TrackingServer,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.address)
    registry = connect(f"{bucket}/birds")
    for run_id in ("7a", "8b"):
        make_release(registry, tmp_path, run_id, name="birds")
        assert main(["promote", f"{registry.uri}/releases/{run_id}"]) == 0
    assert main(["rollback", registry.uri]) == 0
    version = champion_of(mlflow, "birds")
    assert version
    assert version["source"] == f"{registry.uri}/releases/7a"
    assert publish.read_champion(registry)
    assert [row for row in caplog.records if row.levelno >= logging.WARNING] == []

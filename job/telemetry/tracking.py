"""The outcome of a run for MLflow: a run, a version of the model, and the alias `champion`.

It speaks MLflow's REST API 2.0, https://mlflow.org/docs/latest/rest-api.html, without MLflow's own
client. The bucket stays the truth, and what the server lacks is added by the next run.
"""

import base64
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib import request
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit

from job.telemetry.delivery import Delivery, open_connection
from job.telemetry.metrics import outcome_scores, package_version

logger = logging.getLogger(__name__)

ALIAS = "champion"
# The tag of a version that says which release it is.
RUN_ID = "graft.run_id"
# For all requests together, the look-up of the server's name included.
DEADLINE_SECONDS = 15.0
# The server refuses longer ones.
LONGEST_PARAM, LONGEST_TAG = 500, 5000
# How an MLflow run is marked by the status of ours.
STATUSES = {"failed": "FAILED", "interrupted": "KILLED"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingServer:
    """An MLflow server, as the variables of MLflow's own client describe it.

    Attributes:
        address: without a slash at the end.
        experiment: the name of the experiment. Empty takes the model's name.
        authorization: the header that proves who asks, or nothing.
    """

    address: str
    experiment: str = ""
    authorization: str = field(default="", repr=False)

    @classmethod
    def find(cls, environment: Mapping[str, str]) -> Self | None:
        """The server of MLFLOW_TRACKING_URI. None if there is none that is reached by HTTP."""
        uri = environment.get("MLFLOW_TRACKING_URI", "")
        if not uri:
            return None
        parts = urlsplit(uri)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            logger.warning("MLFLOW_TRACKING_URI is not used; expected http://… or https://….")
            return None
        authorization = ""
        if token := environment.get("MLFLOW_TRACKING_TOKEN", ""):
            authorization = f"Bearer {token}"
        elif user := environment.get("MLFLOW_TRACKING_USERNAME", ""):
            password = environment.get("MLFLOW_TRACKING_PASSWORD", "")
            pair = base64.b64encode(f"{user}:{password}".encode()).decode()
            authorization = f"Basic {pair}"
        return cls(
            address=uri.rstrip("/"),
            experiment=environment.get("MLFLOW_EXPERIMENT_NAME", ""),
            authorization=authorization,
        )

    def get(self, path: str, **query: str) -> Any:
        """The answer to a GET, or None where there is no such thing."""
        return self._send(f"{path}?{urlencode(query)}", None)

    def post(self, path: str, **fields: object) -> Any:
        """The answer to a POST, or None where there is such a thing already."""
        return self._send(path, json.dumps(fields).encode())

    def _send(self, path: str, body: bytes | None) -> Any:
        """Raises HTTPError, OSError, HTTPException or ValueError if the request fails."""
        headers = {"User-Agent": f"graft/{package_version()}", "Content-Type": "application/json"}
        if self.authorization:
            headers["Authorization"] = self.authorization
        address = f"{self.address}/api/2.0/mlflow/{path}"
        try:
            with open_connection(request.Request(address, body, headers)) as answer:
                return json.loads(answer.read() or b"{}")
        except HTTPError as error:
            with error:
                code = _read_code(error)
            expected = "RESOURCE_DOES_NOT_EXIST" if body is None else "RESOURCE_ALREADY_EXISTS"
            if code == expected:
                return None
            raise


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """What the server is told of a run, or of a promotion by hand.

    Attributes:
        model: the model's name.
        result: the `Result.as_dict()` of the run.
        params: the settings of the run.
    """

    model: str
    result: Mapping[str, Any]
    params: Mapping[str, object] = field(default_factory=dict)


def start_recording(server: TrackingServer, run: TrackedRun) -> Delivery:
    """Begin to tell the server.

    Args:
        server: who is told.
        run: what it is told.
    """
    complaint = "MLflow has not recorded the outcome"
    return Delivery(complaint, lambda: record(server, run), deadline=DEADLINE_SECONDS)


def record(server: TrackingServer, run: TrackedRun) -> None:
    """Record a run, its release as a version of the model, and the alias of the champion.

    A release that the server knows already is not recorded again.

    Raises:
        HTTPError, OSError, HTTPException, ValueError, KeyError, TypeError: the server is away, or
            answers something else.
    """
    result = run.result
    if not str(result["release"]).startswith("s3:"):
        # The server refuses addresses of its own disk. A run that was interrupted goes on, and is
        # recorded when it ends.
        if result["status"] in ("released", "below_gate", "failed"):
            _create_run(server, run)
        return
    version = _find_version(server, run)
    if version is None:
        server.post("registered-models/create", name=run.model)
        version = _create_version(server, run, _create_run(server, run))
    if result["promoted"]:
        server.post("registered-models/alias", name=run.model, alias=ALIAS, version=version)


def _create_run(server: TrackingServer, run: TrackedRun) -> str:
    """Record an MLflow run with its parameters, metrics and tags, and return its id."""
    result = run.result
    name = server.experiment or run.model
    # Another run may create it at the same time.
    server.post("experiments/create", name=name)
    experiment = server.get("experiments/get-by-name", experiment_name=name)["experiment"]
    seconds = sum(value or 0.0 for value in result["seconds"].values())
    now = time.time()
    created = server.post(
        "runs/create",
        experiment_id=experiment["experiment_id"],
        run_name=result["run_id"] or result["status"],
        start_time=int((now - seconds) * 1000),
        tags=_list_tags(result),
    )
    run_id: str = created["run"]["info"]["run_id"]
    metrics = {**outcome_scores(result), "seconds": seconds}
    rows = []
    for key, value in metrics.items():
        rows.append({"key": key, "value": value, "timestamp": int(now * 1000), "step": 0})
    params = []
    for key, value in run.params.items():
        params.append({"key": key, "value": str(value)[:LONGEST_PARAM]})
    server.post("runs/log-batch", run_id=run_id, metrics=rows, params=params)
    status = STATUSES.get(result["status"], "FINISHED")
    server.post("runs/update", run_id=run_id, status=status, end_time=int(now * 1000))
    return run_id


def _list_tags(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """What is known of a run besides numbers."""
    error = result["error"] or {}
    tags = {
        RUN_ID: result["run_id"],
        "graft.status": result["status"],
        "graft.release": result["release"],
        "graft.plan": result["plan"],
        "graft.reason": result.get("reason"),
        "graft.error": error.get("message"),
    }
    return [{"key": key, "value": str(tags[key])[:LONGEST_TAG]} for key in tags if tags[key]]


def _find_version(server: TrackingServer, run: TrackedRun) -> str | None:
    """The version of the model that is the release of a run."""
    wanted = f"name = '{run.model}' and tags.`{RUN_ID}` = '{run.result['run_id']}'"
    found = server.get("model-versions/search", filter=wanted) or {}
    versions = found.get("model_versions", [])
    return str(versions[0]["version"]) if versions else None


def _create_version(server: TrackingServer, run: TrackedRun, mlflow_run: str) -> str:
    """Make the release the next version of the model, and return its number."""
    created = server.post(
        "model-versions/create",
        name=run.model,
        source=run.result["release"],
        run_id=mlflow_run,
        tags=[{"key": RUN_ID, "value": run.result["run_id"]}],
    )
    return str(created["model_version"]["version"])


def _read_code(error: HTTPError) -> str:
    """The code of MLflow for an error, or nothing."""
    try:
        return str(json.loads(error.read())["error_code"])
    except (ValueError, KeyError, TypeError):
        return ""

"""What the cluster shows of one run at one instant, and how to read it."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from job.errors import TemporaryError
from job.launcher.answers import ClusterForbidden, ClusterNotFound, ClusterUnavailable
from job.launcher.cluster import MAIN, Cluster, Json

logger = logging.getLogger(__name__)

INDEX = "batch.kubernetes.io/job-completion-index"
ENDS = ("Complete", "Failed")
PATIENCE = 300.0
"""Seconds that an API server may be away before we give up on it; the run does not need us."""
PAUSE = 2.0


class RunDeleted(TemporaryError):
    """Somebody has deleted the run while we looked at it."""


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """One run.

    Attributes:
        job: its Job.
        pods: from the oldest to the newest; of several workers the first one's alone, which is the
            chief.
        events: of the Job and of its newest pod, looked up only while none is at work.
    """

    job: Json
    pods: tuple[Json, ...] = ()
    events: tuple[Json, ...] = ()

    @property
    def run(self) -> str:
        return str(self.job["metadata"]["name"])

    @property
    def newest(self) -> Json | None:
        return self.pods[-1] if self.pods else None

    @property
    def end(self) -> Json | None:
        """The condition that says that the Job is over, and why."""
        conditions = self.job.get("status", {}).get("conditions") or []
        return next(
            (each for each in conditions if each["status"] == "True" and each["type"] in ENDS), None
        )

    @property
    def completed(self) -> bool:
        return self.end is not None and self.end["type"] == "Complete"

    @property
    def suspended(self) -> bool:
        return bool(self.job["spec"].get("suspend"))

    @property
    def started(self) -> bool:
        """Whether any pod of it has run at all."""
        status = self.job.get("status", {})
        return any(map(has_run, self.pods)) or bool(status.get("failed") or status.get("succeeded"))


def observe(cluster: Cluster, run: str) -> RunSnapshot:
    """See the run `run` as it is now."""
    job = cluster.job(run)
    snapshot = RunSnapshot(job, chiefs(cluster.pods(run)))
    if snapshot.end or (snapshot.newest and at_work(snapshot.newest)):
        return snapshot
    events = cluster.events("Job", run)
    if snapshot.newest:
        events += cluster.events("Pod", snapshot.newest["metadata"]["name"])
    return RunSnapshot(job, snapshot.pods, tuple(events))


def observe_again(cluster: Cluster, run: str) -> RunSnapshot:
    """Another look at a run that was there, through times in which the API server is away.

    Raises:
        RunDeleted: it is not there any more.
    """
    latest = time.monotonic() + PATIENCE
    while True:
        try:
            return observe(cluster, run)
        except ClusterNotFound as error:
            raise RunDeleted(
                f"The run {run} was deleted while it was watched.",
                "Submit it again: it goes on from its checkpoint.",
            ) from error
        except (
            ClusterUnavailable,
            ClusterForbidden,
        ) as error:  # A server that just came back knows no rights yet.
            if time.monotonic() >= latest:
                raise
            logger.warning("%s", error.message)
            time.sleep(PAUSE)


def chiefs(pods: Iterable[Json]) -> tuple[Json, ...]:
    """Without the pods of the workers that are not the first."""
    return tuple(
        pod for pod in pods if pod["metadata"].get("annotations", {}).get(INDEX, "0") == "0"
    )


def state(pod: Json) -> Json:
    """The state of our container: `{"waiting": …}`, `{"running": …}`, `{"terminated": …}` or nothing yet."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return next((each.get("state") or {} for each in statuses if each["name"] == MAIN), {})


def has_run(pod: Json) -> bool:
    """Whether our container has begun."""
    return bool(state(pod).keys() & {"running", "terminated"})


def at_work(pod: Json) -> bool:
    """Whether our container runs."""
    return has_run(pod) and not over(pod)


def over(pod: Json) -> bool:
    """Whether nothing will happen in it any more."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def condition(pod: Json, kind: str, status: str) -> Json | None:
    """The pod's condition of that type, if it has that status."""
    conditions: list[Any] = pod.get("status", {}).get("conditions") or []
    return next(
        (each for each in conditions if each["type"] == kind and each["status"] == status), None
    )

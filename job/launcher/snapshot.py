"""What the cluster shows of one run at one instant."""

import logging
import time
from dataclasses import dataclass

from job.errors import TemporaryError
from job.launcher.answers import ClusterForbidden, ClusterNotFound, ClusterUnavailable
from job.launcher.cluster import Cluster
from job.launcher.objects import ClusterEvent, Job, Pod

logger = logging.getLogger(__name__)

# Seconds that an API server may be away before we give up on it. The run goes on without us.
PATIENCE = 300.0
# Seconds between two tries.
PAUSE = 2.0


class RunDeleted(TemporaryError):
    """The run was deleted while we observed it."""


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """One run.

    Attributes:
        job: its Job.
        pods: the chief's pods, from the oldest to the newest.
        events: of the Job and of its newest pod; read only while no pod is at work.
    """

    job: Job
    pods: tuple[Pod, ...] = ()
    events: tuple[ClusterEvent, ...] = ()

    @property
    def newest_pod(self) -> Pod | None:
        return self.pods[-1] if self.pods else None

    @property
    def started(self) -> bool:
        """Whether any pod of the run has begun."""
        # The Job still counts pods that have been deleted.
        return self.job.ended_pods > 0 or any(pod.has_begun for pod in self.pods)


def observe(cluster: Cluster, run: str) -> RunSnapshot:
    """Read the run `run` as it is now."""
    job = cluster.read_job(run)
    snapshot = RunSnapshot(job, tuple(cluster.list_pods(job)))
    pod = snapshot.newest_pod
    # Events matter only to explain a wait, and each list of them is a request.
    if job.end or (pod and pod.is_running):
        return snapshot

    events = cluster.list_events("Job", run)
    if pod:
        events += cluster.list_events("Pod", pod.name)
    return RunSnapshot(job, snapshot.pods, tuple(events))


def observe_again(cluster: Cluster, run: str) -> RunSnapshot:
    """Read a run that existed a moment ago, and outlast times in which the API server is away.

    Raises:
        RunDeleted: it does not exist any more.
    """
    try:
        return observe_patiently(cluster, run)
    except ClusterNotFound as error:
        raise RunDeleted(
            f"The run {run} was deleted while it was watched.",
            "Submit it again: it goes on from its checkpoint.",
        ) from error


def observe_patiently(cluster: Cluster, run: str) -> RunSnapshot:
    """Read a run, and outlast times in which an API server is away that has answered before.

    Raises:
        ClusterNotFound: there is no such run.
    """
    # Without any answer so far, a wrong address or missing rights are more likely.
    patience = PATIENCE if cluster.has_answered else 0.0
    latest = time.monotonic() + patience
    while True:
        try:
            return observe(cluster, run)
        # An API server that has just restarted refuses everybody until it has read its roles.
        except (ClusterUnavailable, ClusterForbidden) as error:
            if time.monotonic() >= latest:
                raise
            logger.warning("%s", error.message)
            time.sleep(PAUSE)

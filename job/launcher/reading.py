"""The log of a run, from its first pod to its last, whatever breaks in between."""

import logging
import time
from collections.abc import Iterator

from job.errors import JobError
from job.launcher.answers import ClusterForbidden, ClusterNotFound
from job.launcher.cluster import Cluster
from job.launcher.snapshot import has_run, observe, observe_again, over, state

logger = logging.getLogger(__name__)

TICK = 1
PAUSE = 1.0
TRIES = 60
"""Times in a row that a log may break or be closed without a line; then the next pod's turn comes."""
OVERLAP = 5
"""Seconds that are read twice after a break, for a pod's time is only as fine as that."""


def logs(cluster: Cluster, run: str) -> Iterator[str]:
    """The lines of all pods of `run`, as they come; ends when the run has ended.

    Raises:
        ClusterNotFound: there is no such run.
    """
    done: set[str] = set()
    snapshot = observe(cluster, run)
    while True:
        ready = [
            pod["metadata"]["name"]
            for pod in snapshot.pods
            if has_run(pod) and pod["metadata"]["name"] not in done
        ]
        if ready:
            yield from _whole(cluster, run, ready[0])
            done.add(ready[0])
        elif snapshot.end:
            return
        else:
            cluster.await_change(snapshot.job, TICK)
        snapshot = observe_again(cluster, run)


def _whole(cluster: Cluster, run: str, pod: str) -> Iterator[str]:
    """The log of one pod to its end; a stream that breaks is taken up at the line where it broke."""
    reader, tries = LogReader(cluster, pod), 0
    while tries < TRIES:
        tries += 1
        try:
            for line in reader.read(follow=True):
                tries = 0
                yield line
            if _finished(cluster, run, pod):
                return
        except ClusterNotFound:
            return  # The pod is gone, and its log with it.
        except ClusterForbidden:
            raise
        except JobError as error:
            logger.debug("%s", error.message)
        time.sleep(PAUSE)


def _finished(cluster: Cluster, run: str, name: str) -> bool:
    """Whether nothing will be added to the log of the pod `name`."""
    pods = (pod for pod in observe_again(cluster, run).pods if pod["metadata"]["name"] == name)
    return all(over(pod) or "terminated" in state(pod) for pod in pods)


class LogReader:
    """Reads the log of one pod on and on, each line once."""

    def __init__(self, cluster: Cluster, pod: str) -> None:
        self._cluster = cluster
        self._pod = pod
        self._last = ""
        self._heard = 0.0

    def read(self, *, follow: bool) -> Iterator[str]:
        """The lines since the last call; with `follow` until the container ends or the stream breaks."""
        before = self._last
        # Seconds by our own clock since we last heard: the node's clock may be another.
        seconds = int(time.monotonic() - self._heard) + OVERLAP if before else None
        for stamped in self._cluster.log(self._pod, follow=follow, seconds=seconds):
            stamp, _, line = stamped.partition(" ")
            if (
                stamp > before
            ):  # Kubernetes writes all nine digits, so that text sorts as time does.
                self._last, self._heard = stamp, time.monotonic()
                yield line

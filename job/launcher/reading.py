"""The log of a run, from its first pod to its last, whatever breaks in between."""

import logging
import time
from collections.abc import Iterator

from job.errors import JobError
from job.launcher.answers import ClusterForbidden, ClusterNotFound
from job.launcher.cluster import Cluster
from job.launcher.snapshot import observe, observe_again

logger = logging.getLogger(__name__)

# Seconds after which we observe the run again, even if its Job has not changed.
POLL_SECONDS = 1
# Seconds between two tries to read a log.
PAUSE = 1.0
# Times in a row that a log may break, or end without a line, before we go on to the next pod.
TRIES = 60
# Seconds that are read twice after a break, because the API counts in whole seconds.
OVERLAP = 5


def follow_logs(cluster: Cluster, run: str) -> Iterator[str]:
    """Yield the lines of all pods of a run as they come, until the run has ended.

    Raises:
        ClusterNotFound: there is no such run.
    """
    done: set[str] = set()
    snapshot = observe(cluster, run)
    while True:
        next_pod = None
        for pod in snapshot.pods:
            if pod.has_begun and pod.name not in done:
                next_pod = pod.name
                break

        # Pods before the end: the last one may have begun and ended between two observations.
        if next_pod:
            yield from _follow_pod(cluster, run, next_pod)
            done.add(next_pod)
        elif snapshot.job.end:
            return
        else:
            cluster.await_change(snapshot.job, POLL_SECONDS)
        snapshot = observe_again(cluster, run)


def _follow_pod(cluster: Cluster, run: str, pod: str) -> Iterator[str]:
    """Yield the log of one pod to its end, and go on after a break at the line where it broke."""
    reader, tries = LogReader(cluster, pod), 0
    while tries < TRIES:
        tries += 1
        try:
            for line in reader.read_new_lines(follow=True):
                tries = 0
                yield line
            # A stream also ends when the kubelet or the API server restarts.
            pods = [each for each in observe_again(cluster, run).pods if each.name == pod]
            if all(each.has_whole_log for each in pods):
                return
        # The log goes together with its pod.
        except ClusterNotFound:
            return
        except ClusterForbidden:
            raise
        except JobError as error:
            logger.debug("%s", error.message)
        time.sleep(PAUSE)


class LogReader:
    """Reads the log of one pod in several calls, each line once."""

    def __init__(self, cluster: Cluster, pod: str) -> None:
        self._cluster = cluster
        self._pod = pod
        self._last_stamp = ""
        self._last_read = 0.0

    def read_new_lines(self, *, follow: bool) -> Iterator[str]:
        """Yield the lines since the last call; with `follow` until the container ends."""
        newest, seconds = self._last_stamp, None
        if newest:
            # By our own clock: the node's clock may show another time.
            seconds = int(time.monotonic() - self._last_read) + OVERLAP
        for stamped in self._cluster.stream_log(self._pod, follow=follow, seconds=seconds):
            stamp, _, line = stamped.partition(" ")
            # Kubernetes writes all nine digits of a second, so that text sorts as time does.
            if stamp > newest:
                self._last_stamp, self._last_read = stamp, time.monotonic()
                yield line

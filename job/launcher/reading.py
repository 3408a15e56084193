"""The log of a run, from its first pod to its last, whatever breaks in between."""

import logging
import re
import time
from collections.abc import Iterator
from datetime import datetime

from job.errors import JobError
from job.launcher.answers import ClusterForbidden, ClusterNotFound
from job.launcher.cluster import Cluster
from job.launcher.snapshot import observe_again, observe_patiently

logger = logging.getLogger(__name__)

# Seconds after which we observe the run again, even if its Job has not changed.
POLL_SECONDS = 1
# Seconds between two tries to read a log.
PAUSE = 1.0
# Times in a row that a log may break, or end without a line, before we go on to the next pod.
TRIES = 60
# Times in a row that we may be refused a log before we take it that a right is missing.
REFUSALS = 10
# Seconds that are read twice after a break, because the API counts in whole seconds.
OVERLAP = 5
# RFC 3339, in three parts: to the second, fraction, offset.
STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


def follow_logs(cluster: Cluster, run: str) -> Iterator[str]:
    """Yield the lines of all pods of a run as they come, until the run has ended.

    Raises:
        ClusterNotFound: there is no such run.
    """
    done: set[str] = set()
    snapshot = observe_patiently(cluster, run)
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
    reader, tries, refusals = LogReader(cluster, pod), 0, 0
    while tries < TRIES:
        tries += 1
        try:
            for line in reader.read_new_lines(follow=True):
                tries = refusals = 0
                yield line
            # A stream also ends when the kubelet or the API server restarts.
            pods = [each for each in observe_again(cluster, run).pods if each.name == pod]
            if all(each.has_whole_log for each in pods):
                return
        # The log goes together with its pod.
        except ClusterNotFound:
            return
        # An API server that has just restarted refuses everybody.
        except ClusterForbidden as error:
            refusals += 1
            if refusals == REFUSALS:
                raise
            logger.warning("%s", error.message)
        except JobError as error:
            logger.debug("%s", error.message)
        time.sleep(PAUSE)


class LogReader:
    """Reads the log of one pod in several calls, each line once."""

    def __init__(self, cluster: Cluster, pod: str) -> None:
        self._cluster = cluster
        self._pod = pod
        self._last_stamp: tuple[datetime, str] | None = None
        self._last_read = 0.0
        self._unstamped: set[str] = set()

    def read_new_lines(self, *, follow: bool) -> Iterator[str]:
        """Yield the lines since the last call; with `follow` until the container ends."""
        newest, seconds = self._last_stamp, None
        if newest:
            # By our own clock: the node's clock may show another time.
            seconds = int(time.monotonic() - self._last_read) + OVERLAP
        for stamped in self._cluster.stream_log(self._pod, follow=follow, seconds=seconds):
            text, _, line = stamped.partition(" ")
            stamp = _parse_stamp(text)
            if stamp is None:
                # The kubelet's own words, such as "failed to create fsnotify watcher". They are not
                # of the log, and each time that it is opened they may come again.
                if stamped not in self._unstamped:
                    self._unstamped.add(stamped)
                    yield stamped
            elif newest is None or stamp > newest:
                self._last_stamp, self._last_read = stamp, time.monotonic()
                yield line


def _parse_stamp(text: str) -> tuple[datetime, str] | None:
    """Return a time of RFC 3339 as something that sorts; None if the text is not one.

    The digits below a second stay text, since `datetime` would drop the nanoseconds.
    """
    match = STAMP.fullmatch(text)
    if match is None:
        return None
    try:
        second = datetime.fromisoformat(match[1] + match[3])
    # It looks like one, but there is no such day or hour.
    except ValueError:
        return None
    return second, (match[2] or "").ljust(9, "0")

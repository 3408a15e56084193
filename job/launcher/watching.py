"""Follow one run to its end: say what is new, and return its result."""

import json
import logging
import time
from collections.abc import Callable, Iterator

from job.errors import Interrupted, JobError, TemporaryError
from job.launcher import outcome, reasons
from job.launcher.answers import ClusterForbidden
from job.launcher.cluster import Cluster, Json
from job.launcher.reading import LogReader
from job.launcher.snapshot import RunSnapshot, has_run, observe, observe_again, over, state
from job.result import Result
from job.workers import Terminated

logger = logging.getLogger(__name__)
Tell = Callable[[str], None]

TICK = 3
"""Seconds after which we look again even if the Job has not changed: why a pod waits is not written there."""


class NotStarted(TemporaryError):
    """No pod of the run has begun in the time that it was given."""


def watch(
    cluster: Cluster,
    run: str,
    tell: Tell,
    *,
    start_timeout: float | None = None,
    cancel: bool = False,
) -> Result:
    """Follow `run` until it ends.

    Args:
        cluster: where it is.
        run: its name.
        tell: gets a line for each thing that is new: phases, what holds it up, what became of its
            pods.
        start_timeout: seconds within which a pod has to have begun.
        cancel: end the run too, if we stop before it does.

    Raises:
        NotStarted: `start_timeout` is over.
        Interrupted: we were stopped.
        ClusterNotFound: there is no such run.
        RunDeleted: it was deleted while we watched.
    """
    try:
        return _followed(cluster, run, Narrator(cluster, tell), start_timeout)
    except (NotStarted, Terminated, KeyboardInterrupt) as error:
        if cancel:
            cluster.delete(run)
        raise _left(error, run, cancel) from error


def _left(error: BaseException, run: str, cancelled: bool) -> TemporaryError:
    """What to tell whoever waited: what became of the run, and how to find it again."""
    became = "was cancelled; its checkpoint is kept" if cancelled else "goes on"
    cure = "Submit it again to go on." if cancelled else f"`graft watch {run}` follows it again."
    if isinstance(error, NotStarted):
        return NotStarted(
            f"{error.message} The run {run} {became}.", " ".join(filter(None, [error.cure, cure]))
        )
    return Interrupted(f"The wait was stopped; the run {run} {became}.", cure)


def _followed(
    cluster: Cluster, run: str, narrator: "Narrator", start_timeout: float | None
) -> Result:
    latest = time.monotonic() + start_timeout if start_timeout is not None else None
    for snapshot in _sights(cluster, run):
        narrator.tell_of(snapshot)
        if snapshot.end:
            break
        if latest and not snapshot.started and time.monotonic() >= latest:
            raise _not_started(snapshot, start_timeout)
    return outcome.of(snapshot)


def _not_started(snapshot: RunSnapshot, seconds: float | None) -> NotStarted:
    reason = reasons.standing(snapshot) or reasons.Reason(
        "Pending", "the cluster gives no reason yet"
    )
    return NotStarted(
        f"No pod has started within {seconds:g} s: {reason.word}: {reason.message}.", reason.cure
    )


def _sights(cluster: Cluster, run: str) -> Iterator[RunSnapshot]:
    """The run as it is now, and again after each change, at most `TICK` seconds later; the last one is its end."""
    snapshot = observe(cluster, run)
    while not snapshot.end:
        yield snapshot
        cluster.await_change(snapshot.job, TICK)
        snapshot = observe_again(cluster, run)
    yield snapshot


class Narrator:
    """Says each thing about a run once."""

    def __init__(self, cluster: Cluster, tell: Tell) -> None:
        self._cluster = cluster
        self._tell = tell
        self._told: set[str] = set()
        self._readers: dict[str, LogReader] = {}
        self._read_out: set[str] = set()

    def tell_of(self, snapshot: RunSnapshot) -> None:
        """Say what is new."""
        for pod in snapshot.pods:
            self._pod(pod)
        for name in self._readers.keys() - {pod["metadata"]["name"] for pod in snapshot.pods}:
            self._once(f"pod {name} is gone: it was deleted, or lost with its node")
        if not snapshot.end and not snapshot.started and not snapshot.pods:
            self._once(f"{snapshot.run} is pending")
        if not snapshot.end and (reason := reasons.standing(snapshot)):
            self._once(f"it waits: {reason}")
        if snapshot.end:
            self._once(f"{snapshot.run} is {snapshot.end['type'].lower()}" + _because(snapshot))

    def _pod(self, pod: Json) -> None:
        name = pod["metadata"]["name"]
        if has_run(pod):
            self._once(f"pod {name} runs on {pod['spec'].get('nodeName', 'a node')}")
            self._phases(name, last=over(pod))
        if reason := reasons.gone(pod):
            self._once(f"pod {name} is {'gone' if over(pod) else 'going'}: {reason}")
        elif over(pod):
            ended = state(pod).get("terminated") or {}
            self._once(f"pod {name} ended with exit code {ended.get('exitCode', 'unknown')}")

    def _phases(self, name: str, last: bool) -> None:
        """What the run itself says about its phases and epochs. That is a kindness: without its log we go on."""
        reader = self._readers.setdefault(name, LogReader(self._cluster, name))
        if name in self._read_out:
            return
        if last:
            self._read_out.add(name)
        try:
            for line in reader.read(follow=False):
                if said := _phase(line):
                    self._tell(said)
        except ClusterForbidden:
            raise
        except JobError as error:
            logger.debug("%s", error)

    def _once(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._tell(line)


def _phase(line: str) -> str | None:
    """The message of a line of the run's log that speaks of a phase or an epoch."""
    try:
        entry = json.loads(line)
        return str(entry["message"]) if {"phase", "epoch"} & entry["fields"].keys() else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _because(snapshot: RunSnapshot) -> str:
    return "" if snapshot.completed else f": {reasons.final(snapshot)}"

"""Follow one run to its end: report what is new, and return its result."""

import json
import logging
import time
from collections.abc import Callable

from job.errors import Interrupted, JobError, TemporaryError
from job.launcher import outcome, reasons
from job.launcher.answers import ClusterForbidden, ClusterNotFound, ClusterUnavailable
from job.launcher.cluster import Cluster
from job.launcher.objects import Pod
from job.launcher.reading import LogReader
from job.launcher.snapshot import (
    PATIENCE,
    RunDeleted,
    RunSnapshot,
    observe_again,
    observe_patiently,
)
from job.result import Result
from job.workers import Terminated

logger = logging.getLogger(__name__)
WriteLine = Callable[[str], None]

# Seconds after which we observe the run again even if its Job has not changed: why a pod waits is
# not written in the Job.
POLL_SECONDS = 3
# The same once a pod is at work. Each look is several requests, and many may wait at once.
WORKING_POLL_SECONDS = 15
# Seconds between two tries to cancel a run, and their number: a pod that is stopped itself has
# 30 seconds by default.
PAUSE = 2.0
TRIES = 5


class NotStarted(TemporaryError):
    """No pod of the run has begun in the time that it was given."""


def watch(
    cluster: Cluster,
    run: str,
    write_line: WriteLine,
    *,
    start_timeout: float | None = None,
    cancel: bool = False,
) -> Result:
    """Follow `run` until it ends.

    Args:
        cluster: where it is.
        run: its name.
        write_line: gets a line for each thing that is new: phases, what the run waits for, what
            became of its pods.
        start_timeout: seconds within which a pod has to have begun.
        cancel: end the run too, if we stop before it does.

    Raises:
        NotStarted: `start_timeout` is over.
        Interrupted: we were stopped.
        ClusterNotFound: there is no such run.
        RunDeleted: it was deleted while we watched.
    """
    try:
        reporter = RunReporter(cluster, write_line)
        return _follow_run(cluster, run, reporter, start_timeout)
    except BaseException as error:
        raise abandon(cluster, run, error, cancel=cancel) from error


def abandon(cluster: Cluster, run: str, error: BaseException, *, cancel: bool) -> BaseException:
    """Return the error with which a wait ends before its run: it says what becomes of the run.

    Args:
        cluster: where the run is.
        run: its name.
        error: what ended the wait.
        cancel: end the run too.
    """
    # Then there is nothing to follow or to cancel.
    if isinstance(error, RunDeleted | ClusterNotFound):
        return error
    became, cure = "goes on", f"`graft watch {run}` follows it again."
    if cancel:
        became, cure = _cancel_run(cluster, run)

    if isinstance(error, Terminated | KeyboardInterrupt | Interrupted):
        return Interrupted(f"The wait was stopped; the run {run} {became}.", cure)
    if isinstance(error, JobError):
        message = f"{error.message} The run {run} {became}."
        return type(error)(message, f"{error.cure} {cure}".lstrip(), error.problems)
    logger.warning("The run %s %s. %s", run, became, cure)
    return error


def _cancel_run(cluster: Cluster, run: str) -> tuple[str, str]:
    """End a run, and return what became of it and what to do."""
    cancelled = "was cancelled; its checkpoint is kept", "Submit it again to go on."
    tries = 0
    while True:
        tries += 1
        try:
            cluster.delete_job(run)
            return cancelled
        # An earlier try was carried out, but its answer was lost.
        except ClusterNotFound:
            return cancelled
        except (ClusterUnavailable, ClusterForbidden) as error:
            if tries == TRIES:
                became = f"goes on, because it was not possible to cancel it: {error.message}"
                return became.rstrip("."), f"Delete it: `kubectl delete job {run}`."
            logger.warning("%s", error.message)
        time.sleep(PAUSE)


def _follow_run(
    cluster: Cluster,
    run: str,
    reporter: "RunReporter",
    start_timeout: float | None,
) -> Result:
    began = time.monotonic()
    waiter = _Waiter(cluster)
    snapshot = observe_patiently(cluster, run)
    while True:
        reporter.report(snapshot)
        if snapshot.job.end:
            return outcome.build_result(snapshot)

        waited = time.monotonic() - began
        if start_timeout is not None and waited >= start_timeout and not snapshot.started:
            reason = reasons.explain_wait(snapshot)
            reason = reason or reasons.Reason("Pending", "the cluster gives no reason yet")
            raise NotStarted(
                f"No pod has started within {start_timeout:g} s: {reason.word}: {reason.message}.",
                reason.cure,
            )
        # A watch only wakes us: the state is read again each time, so nothing is lost with it.
        waiter.wait(snapshot)
        snapshot = observe_again(cluster, run)


class _Waiter:
    """Waits for a change of a run, and outlasts times in which the watch is refused."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._last_success = time.monotonic()

    def wait(self, snapshot: RunSnapshot) -> None:
        """Return when there may be something new.

        Raises:
            ClusterForbidden: the watch has been refused for too long.
        """
        pod = snapshot.newest_pod
        seconds = WORKING_POLL_SECONDS if pod and pod.is_running else POLL_SECONDS
        try:
            self._cluster.await_change(snapshot.job, seconds)
            self._last_success = time.monotonic()
        except ClusterForbidden as error:
            if time.monotonic() - self._last_success >= PATIENCE:
                raise
            logger.warning("%s", error.message)
            time.sleep(PAUSE)


class RunReporter:
    """Writes each fact about a run once."""

    def __init__(self, cluster: Cluster, write_line: WriteLine) -> None:
        self._cluster = cluster
        self._write_line = write_line
        self._written: set[str] = set()
        self._readers: dict[str, LogReader] = {}
        self._finished_logs: set[str] = set()

    def report(self, snapshot: RunSnapshot) -> None:
        """Write what is new."""
        for pod in snapshot.pods:
            self._report_pod(pod)
        listed = {pod.name for pod in snapshot.pods}
        # Whose log we have read, but who is not listed any more.
        for name in self._readers.keys() - listed:
            self._write_once(f"pod {name} is gone: it was deleted, or lost with its node")

        job = snapshot.job
        if job.end:
            because = ""
            if not job.completed:
                because = f": {reasons.explain_failure(snapshot)}"
            self._write_once(f"{job.name} is {job.end.type.lower()}{because}")
            return
        if not snapshot.started and not snapshot.pods:
            self._write_once(f"{job.name} is pending")
        if reason := reasons.explain_wait(snapshot):
            self._write_once(f"it waits: {reason}")

    def _report_pod(self, pod: Pod) -> None:
        if pod.has_begun:
            node = pod.node or "a node"
            self._write_once(f"pod {pod.name} runs on {node}")
            self._report_phases(pod)
        if reason := reasons.explain_pod_end(pod):
            became = "gone" if pod.is_over else "going"
            self._write_once(f"pod {pod.name} is {became}: {reason}")
        elif pod.is_over:
            # An evicted pod may have no container left.
            code = pod.container.exit_code
            shown = "unknown" if code is None else code
            self._write_once(f"pod {pod.name} ended with exit code {shown}")

    def _report_phases(self, pod: Pod) -> None:
        """Write what the run's own log says about phases and epochs."""
        reader = self._readers.setdefault(pod.name, LogReader(self._cluster, pod.name))
        if pod.name in self._finished_logs:
            return
        # One last time after the end of the pod, since its last lines may be new.
        if pod.is_over:
            self._finished_logs.add(pod.name)
        try:
            for line in reader.read_new_lines(follow=False):
                if message := _extract_phase(line):
                    self._write_line(message)
        # The result does not depend on the log, so a log that cannot be read ends nothing.
        except JobError as error:
            logger.debug("%s", error)

    def _write_once(self, line: str) -> None:
        if line not in self._written:
            self._written.add(line)
            self._write_line(line)


def _extract_phase(line: str) -> str | None:
    """Return the message of a line of the run's log if it is about a phase or an epoch."""
    try:
        entry = json.loads(line)
        return str(entry["message"]) if {"phase", "epoch"} & entry["fields"].keys() else None
    # Other programs write to the same log, and not as JSON.
    except (ValueError, KeyError, TypeError, AttributeError):
        return None

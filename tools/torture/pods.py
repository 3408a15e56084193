"""What happens in a world: runs with their attempts, and people and servers beside them."""

import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from job import publish, storage
from job.commands.outcome import run_until_result
from job.commands.training import _run_watched
from job.errors import JobError, ReleaseError, ReleaseNotFound, StoreNotFound, TemporaryError
from job.release import open_release
from job.result import Result
from tools.torture.auditor import Auditor
from tools.torture.scheduler import Killed, Process

# Faults of the machine itself may end a run with another code than 75.
OF_THE_DISK = {"enospc", "eio"}


@dataclass(kw_only=True)
class Pod:
    """Something that happens in a world, several times if it fails.

    Attributes:
        name: in the log of events.
        act: what it does, in a process of the world.
        judge: looks at how the process ended. Returns whether another attempt is due.
        attempts: how many are left.
        loses: the cache that is gone before each attempt, if any.
    """

    name: str
    act: Callable[[Process], Any]
    judge: Callable[[Process], bool]
    attempts: int = 1
    loses: Path | None = None


def run_job(process: Process, environment: Mapping[str, str]) -> Result:
    """`graft run`, as the working process does it."""

    def work(stop: Any) -> Result:
        process.on_signal = lambda: stop._on_signal(signal.SIGTERM, None)
        try:
            return _run_watched(environment, stop)
        finally:
            process.on_signal = None

    return run_until_result(work)


def judge_run(process: Process, auditor: Auditor) -> bool:
    """Whether another attempt is due. Whatever a run must not end with is reported."""
    result = process.outcome
    if isinstance(process.error, Killed) or not process.alive:
        return True
    if not isinstance(result, Result):
        auditor.violations.append(f"{process.name} ended without a result: {process.error!r}")
        return False
    if result.error is None:
        auditor.require_release(process, result.run_id or "")
        if result.promoted:
            auditor.require_act(process, result.run_id or "", "by its score")
        return False
    # One of several workers ends with 76 if another one is lost.
    allowed = (75, 76) if "-" in process.name else (75,)
    if result.exit_code not in allowed and not OF_THE_DISK & set(process.faults):
        auditor.violations.append(
            f"{process.name} ended with {result.exit_code}: {result.error.kind}: "
            f"{result.error.message}"
        )
    return True


def prune_any(registry: str) -> str:
    """`graft prune` that keeps as little as it may."""
    # Before the first run the folder of the model is not there yet.
    with suppress(ReleaseNotFound, StoreNotFound):
        publish.prune(storage.connect(registry), 1)
    return ""


def roll_back_any(registry: str) -> str:
    """`graft rollback`. Returns the run id of the champion, or nothing if there is no way back."""
    try:
        return publish.roll_back(registry).rpartition("/")[2]
    except ReleaseNotFound:
        return ""


def promote_any(registry: str, auditor: Auditor, choose: Any) -> str | None:
    """`graft promote` of one of the releases that there are. Returns its run id."""
    if not auditor.manifests:
        return None
    run_id: str = choose(sorted(auditor.manifests))
    publish.promote_manually(f"{registry}/releases/{run_id}")
    return run_id


def judge_promotion(process: Process, auditor: Auditor) -> bool:
    """Whether another attempt is due."""
    if isinstance(process.outcome, str) and process.outcome:
        auditor.require_act(process, process.outcome, "by hand")
    return _judge_reader(process, auditor)


def read_champion(registry: str) -> None:
    """What a server does: open the champion and verify every byte of it."""
    try:
        publish.verify(registry)
        publish.list_releases(registry)
        open_release(registry)
    except ReleaseNotFound:
        return


def judge_reader(process: Process, auditor: Auditor) -> bool:
    """A reader never sees anything but whole releases."""
    return _judge_reader(process, auditor)


def _judge_reader(process: Process, auditor: Auditor) -> bool:
    error = process.error
    if error is None or not process.alive or isinstance(error, TemporaryError | Killed):
        return error is not None
    if isinstance(error, JobError) and OF_THE_DISK & set(process.faults):
        return True
    if isinstance(error, ReleaseError) and auditor.has_pruned:
        # What was opened or chosen by hand a moment ago may be deleted meanwhile.
        return False
    kind = type(error).__name__
    auditor.violations.append(f"{process.name} saw {kind}: {error}")
    return False

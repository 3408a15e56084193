"""The result of a run: the object that its pod has left, or one made of what the cluster says."""

import json
import math
from typing import Any, get_args

from job.launcher import reasons
from job.launcher.cluster import Json
from job.launcher.snapshot import RunSnapshot, state
from job.result import Failure, Result, Status

TEMPORARY = 75


def of(snapshot: RunSnapshot) -> Result:
    """How an ended run ended. Its `exit_code` is the one of its last container, if there was one."""
    ended = state(snapshot.newest or {}).get("terminated") or {}
    written = read(ended.get("message", ""), ended.get("exitCode", 0))
    if written and (written.exit_code == 0) == snapshot.completed:
        return written
    return (
        _lost()
        if snapshot.completed
        else built(reasons.final(snapshot), ended.get("exitCode") or TEMPORARY)
    )


def built(reason: reasons.Reason, exit_code: int) -> Result:
    """The result of a run that could not write one."""
    message = f"{reason.word}: {reason.message}" if reason.message else reason.word
    status: Status = "interrupted" if exit_code == TEMPORARY else "failed"
    failure = Failure(
        kind=reason.word.lower(), message=message, cure=reason.cure, exit_code=exit_code
    )
    return Result(status=status, error=failure)


def read(message: str, exit_code: int = 0) -> Result | None:
    """The result that a termination message holds; None if there is none in it.

    Where the run could not write the message, it is the log's end, whose last line may be that
    object, too.
    """
    lines = message.strip().splitlines()
    try:
        value = json.loads(lines[-1]) if lines else None
        return _result(value, exit_code) if value and value["status"] in get_args(Status) else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _result(value: Json, exit_code: int) -> Result:
    error = value["error"]
    return Result(
        status=value["status"],
        run_id=value["run_id"],
        release=value["release"],
        promoted=value["promoted"],
        scores=_numbers(value["scores"]),
        plan=value["plan"],
        error=error
        and Failure(
            kind=error["kind"], message=error["message"], cure=error["cure"], exit_code=exit_code
        ),
        seconds=_numbers(value["seconds"]),
        reason=value.get("reason") or "",
    )


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    """JSON has no NaN: there it is null."""
    return {name: math.nan if value is None else float(value) for name, value in values.items()}


def _lost() -> Result:
    """The Job is complete, so there is a release, and an exit code of 0; which one is not known here."""
    lost = Failure(
        kind="resultlost",
        message="The run completed, but its result is gone together with its pod.",
        cure="Read promoted.json and the newest release in the bucket, or submit it again: it ends as unchanged.",
        exit_code=0,
    )
    return Result(status="released", error=lost)

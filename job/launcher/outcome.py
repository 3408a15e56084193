"""The result of a run: the object that its pod has left, or one made of what the cluster says."""

import json
import math
import re
from collections.abc import Mapping
from typing import get_args

from job.errors import TEMPORARY_CODES, TemporaryError
from job.launcher import reasons
from job.launcher.objects import ContainerState, Json
from job.launcher.snapshot import RunSnapshot
from job.result import Failure, Result, Status
from job.supervision import KILLED

# In the message of a Job that its policy has failed.
FINAL_CODE = re.compile(r"failed with exit code (\d+) matching FailJob rule")


def build_result(snapshot: RunSnapshot) -> Result:
    """Return how an ended run ended, with the exit code of its last container if there was one."""
    end, completed = snapshot.job.end, snapshot.job.completed
    pod = snapshot.newest_pod
    container = ContainerState()
    if pod and pod.container.kind == "terminated":
        container = pod.container

    written = parse_result(container.message, container.exit_code or 0)
    # The Job decides: a result of success does not count once a deadline has failed the Job.
    agrees = written is not None and (written.exit_code == 0) == completed
    # Of a killed process the result knows only the signal. The cluster may know the cause.
    killed = written is not None and written.error is not None and written.error.kind == KILLED
    explained = pod is not None and reasons.explain_pod_end(pod) is not None
    # Of a run whose time is over it knows only that it was asked to stop.
    expired = end is not None and end.reason == "DeadlineExceeded"
    stopped = written is not None and written.status == "interrupted"
    if written and agrees and not (killed and explained) and not (stopped and expired):
        return written
    if completed:
        # There is a release, since the run exited with 0, but nothing here says which one.
        lost = Failure(
            kind="resultlost",
            message="The run completed, but its result is gone together with its pod.",
            cure="Read promoted.json and the newest release in the bucket, or submit it again: "
            "it ends as unchanged.",
            exit_code=0,
        )
        return Result(status="released", error=lost)

    reason = reasons.explain_failure(snapshot)
    # Of a pod that is gone, the Job says only which exit code has failed it at once. Without one,
    # the cluster ended the run, and another try may succeed.
    named = FINAL_CODE.search(end.message) if end else None
    exit_code = container.exit_code or TemporaryError.exit_code
    if named and not container.exit_code:
        exit_code = int(named[1])
    failure = Failure(
        kind=reason.word.lower(),
        message=f"{reason.word}: {reason.message}" if reason.message else reason.word,
        cure=reason.cure,
        exit_code=exit_code,
    )
    interrupted = exit_code in TEMPORARY_CODES
    return Result(
        status="interrupted" if interrupted else "failed",
        run_id=written.run_id if written else None,
        error=failure,
    )


def parse_result(message: str, exit_code: int = 0) -> Result | None:
    """Return the result that a termination message holds; None if it holds none.

    Where the run could not write the message, Kubernetes takes the end of the log. The last line of
    the log may be that object, too.
    """
    lines = message.strip().splitlines()
    if not lines:
        return None
    try:
        value: Json = json.loads(lines[-1])
        if value["status"] not in get_args(Status):
            return None
        failure = None
        if error := value["error"]:
            failure = Failure(
                kind=error["kind"],
                message=error["message"],
                cure=error["cure"],
                # The object has no exit code: the container's is the only one.
                exit_code=exit_code,
            )
        classes = value.get("classes")
        return Result(
            status=value["status"],
            run_id=value["run_id"],
            release=value["release"],
            promoted=value["promoted"],
            scores=_parse_numbers(value["scores"]),
            plan=value["plan"],
            error=failure,
            seconds=_parse_numbers(value["seconds"]),
            reason=value.get("reason") or "",
            classes=classes if isinstance(classes, int) else None,
        )
    # Any other last line of a log: not JSON, or JSON of another shape.
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _parse_numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    """Return the numbers of a JSON object, in which null stands for NaN."""
    numbers = {}
    for name, value in values.items():
        numbers[name] = math.nan if value is None else float(value)
    return numbers

"""All runs of a namespace, with what came out of them."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from job.launcher import outcome, reasons
from job.launcher.cluster import RUN_LABEL, Cluster, Json
from job.launcher.snapshot import RunSnapshot, at_work, chiefs
from job.result import Result

UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


@dataclass(frozen=True, slots=True)
class Run:
    """One run; `age` in seconds. What is not known (yet, or any more) is empty."""

    name: str
    status: str
    plan: str
    accuracy: float | None
    release: str
    age: float


def runs(cluster: Cluster) -> tuple[Run, ...]:
    """The runs that the cluster still remembers, from the newest to the oldest."""
    pods: dict[str, list[Json]] = defaultdict(list)
    for pod in cluster.pods():
        pods[pod["metadata"]["labels"][RUN_LABEL]].append(pod)
    now = datetime.now(UTC)
    listed = (
        _run(RunSnapshot(job, chiefs(pods[job["metadata"]["name"]])), now) for job in cluster.jobs()
    )
    return tuple(sorted(listed, key=lambda run: (run.age, run.name)))


def table(listed: Iterable[Run]) -> str:
    """The same in columns, for a person."""
    rows = [("RUN", "STATUS", "PLAN", "ACCURACY", "AGE", "RELEASE"), *map(_row, listed)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _run(snapshot: RunSnapshot, now: datetime) -> Run:
    made = datetime.fromisoformat(snapshot.job["metadata"]["creationTimestamp"])
    result = outcome.of(snapshot) if snapshot.end else None
    return Run(
        name=snapshot.run,
        status=_status(snapshot, result),
        plan=(result and result.plan) or "",
        accuracy=result.scores.get("accuracy") if result else None,
        release=(result and result.release) or "",
        age=max(0.0, (now - made).total_seconds()),
    )


def _status(snapshot: RunSnapshot, result: Result | None) -> str:
    """`pending` (and why) or `running`; in the end that of the result, and what kind of error it was."""
    if result:
        return f"{result.status} ({result.error.kind})" if result.error else result.status
    if snapshot.newest and at_work(snapshot.newest):
        return "running"
    reason = reasons.standing(snapshot)
    return f"pending ({reason.word})" if reason else "pending"


def _row(run: Run) -> tuple[str, ...]:
    accuracy = "" if run.accuracy is None else f"{run.accuracy:.4f}"
    return run.name, run.status, run.plan, accuracy, _age(run.age), run.release


def _age(seconds: float) -> str:
    """In the largest unit that it fills, as `kubectl` has it."""
    letter, size = next((unit for unit in UNITS if seconds >= unit[1]), UNITS[-1])
    return f"{int(seconds // size)}{letter}"

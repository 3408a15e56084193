"""All runs of a namespace, with what came out of them."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from job.launcher import outcome, reasons
from job.launcher.cluster import Cluster
from job.launcher.objects import Pod
from job.launcher.snapshot import RunSnapshot

HEADER = ("RUN", "STATUS", "PLAN", "ACCURACY", "AGE", "RELEASE")
# Seconds of each unit of an age, from the largest unit to the smallest.
UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run; `age` in seconds. What is not known (yet, or any more) is empty."""

    name: str
    status: str
    plan: str
    accuracy: float | None
    release: str
    age: float

    @classmethod
    def from_snapshot(cls, snapshot: RunSnapshot, now: datetime) -> "Run":
        """Summarize one run as it was at the time `now`."""
        job = snapshot.job
        pod = snapshot.newest_pod
        elapsed = now - job.created
        # The clock of the API server may be ahead of ours.
        age = max(0.0, elapsed.total_seconds())
        if not job.end:
            status = "pending"
            if pod and pod.is_running:
                status = "running"
            elif reason := reasons.explain_wait(snapshot):
                status = f"pending ({reason.word})"
            return cls(
                name=job.name,
                status=status,
                plan="",
                accuracy=None,
                release="",
                age=age,
            )

        result = outcome.build_result(snapshot)
        status = result.status
        if result.error:
            status = f"{result.status} ({result.error.kind})"
        return cls(
            name=job.name,
            status=status,
            plan=result.plan or "",
            accuracy=result.scores.get("accuracy"),
            release=result.release or "",
            age=age,
        )


def list_runs(cluster: Cluster) -> tuple[Run, ...]:
    """Return the runs that the cluster still remembers, from the newest to the oldest."""
    # One list of all pods, and not one request for each run.
    pods: dict[str, list[Pod]] = defaultdict(list)
    for pod in cluster.list_pods():
        pods[pod.owner].append(pod)

    # One time for all, so that the ages can be compared.
    now = datetime.now(UTC)
    listed = []
    for job in cluster.list_jobs():
        snapshot = RunSnapshot(job, tuple(pods[job.uid]))
        run = Run.from_snapshot(snapshot, now)
        listed.append(run)
    return tuple(sorted(listed, key=lambda run: (run.age, run.name)))


def format_table(listed: Iterable[Run]) -> str:
    """Return runs in aligned columns, for a terminal."""
    rows = [HEADER]
    for run in listed:
        accuracy = ""
        if run.accuracy is not None:
            accuracy = f"{run.accuracy:.4f}"
        # As `kubectl` does: in the largest unit that the age fills.
        letter, size = next((unit for unit in UNITS if run.age >= unit[1]), UNITS[-1])
        age = f"{int(run.age // size)}{letter}"
        rows.append((run.name, run.status, run.plan, accuracy, age, run.release))

    widths = []
    for column in zip(*rows, strict=True):
        widths.append(max(map(len, column)))
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        line = "  ".join(cells)
        lines.append(line.rstrip())
    return "\n".join(lines)

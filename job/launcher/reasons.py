"""Why a run stands still, or why its pod is gone: Kubernetes' own word for it, its message, and what to do."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from job.launcher.cluster import Json
from job.launcher.snapshot import RunSnapshot, condition, has_run, over, state
from job.launcher.template import KUEUE


@dataclass(frozen=True, slots=True)
class Reason:
    """Kubernetes' own word, its own message, our advice."""

    word: str
    message: str
    cure: str = ""

    def __str__(self) -> str:
        message = " ".join(self.message.split()).rstrip(".")
        return " ".join(
            filter(None, [f"{self.word}: {message}." if message else f"{self.word}.", self.cure])
        )


IMAGE = "Check the image's name and tag, imagePullSecrets, and that the nodes reach its registry."
CONFIG = "Create in this namespace what is missing, or correct its name (credentials, caBundle, extraEnv)."
CURES = {
    "Unschedulable": "Ask for what a node has (gpus, resources, nodeSelector, tolerations), or add such a node.",
    "SchedulingGated": "Wait, or ask whoever set the scheduling gate.",
    "ErrImagePull": IMAGE,
    "ImagePullBackOff": IMAGE,
    "InvalidImageName": IMAGE,
    "ErrImageNeverPull": IMAGE,
    "CreateContainerConfigError": CONFIG,
    "FailedMount": CONFIG,
    "FailedCreate": "Ask for less than the quota leaves, or correct what the cluster refuses.",
    "OOMKilled": "Raise resources.limits.memory, or lower GRAFT_TRAINING_BATCH_SIZE.",
    "Evicted": "Raise cache.size or scratch.size if a volume was full; else give the pod more of what the node lacked.",
    "DeadlineExceeded": "Raise job.activeDeadlineSeconds; started again, it goes on from its checkpoint.",
    "BackoffLimitExceeded": "Read the log (graft logs); started again, it goes on from its checkpoint.",
    "Queued": "Wait: Kueue lets it start when its queue has room.",
    "Suspended": "Somebody has suspended the Job: set its spec.suspend to false.",
}
GPU_CURE = (
    "No node has so many free GPUs of that kind: ask for fewer (gpus.count), name another kind (gpus.resource), wait "
    "for others to end, or add a node with its device plugin."
)
WARNINGS = ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "FailedCreate")


def standing(snapshot: RunSnapshot) -> Reason | None:
    """Why the run has not begun; None if it has, or if there is nothing to say but to wait."""
    if snapshot.suspended:
        return _named(*_suspension(snapshot.job))
    pod = snapshot.newest
    if pod is None or over(pod):
        return _warned(snapshot, "Job")
    if has_run(pod):
        return None
    finders: tuple[Callable[[Json], Reason | None], ...] = (_unscheduled, _waiting)
    return next(filter(None, (find(pod) for find in finders)), None) or _warned(snapshot, "Pod")


def gone(pod: Json) -> Reason | None:
    """What ended the pod, or is ending it, from outside of our program; None for an end of its own."""
    status, ended = pod.get("status", {}), state(pod).get("terminated") or {}
    if ended.get("reason") == "OOMKilled":
        return _named("OOMKilled", f"{_where(pod)} needed more memory than its limit")
    if status.get("reason"):  # the kubelet's: Evicted, DeadlineExceeded, NodeLost, OutOfcpu, …
        return _named(status["reason"], status.get("message", ""))
    if disruption := condition(pod, "DisruptionTarget", "True"):
        return _named(disruption.get("reason", "DisruptionTarget"), disruption.get("message", ""))
    if ended.get("reason", "Completed") not in (
        "Completed",
        "Error",
    ):  # ContainerCannotRun, StartError, …
        return _named(ended["reason"], ended.get("message", ""))
    if pod["metadata"].get("deletionTimestamp"):
        return Reason("Deleted", f"{_where(pod)} was deleted")
    return None


def final(snapshot: RunSnapshot) -> Reason:
    """Why a Job has failed: what ended its last pod, else what the Job itself says."""
    end = snapshot.end or {}
    pod = snapshot.newest
    if end.get("reason") != "DeadlineExceeded" and pod and (ended := gone(pod)):
        return ended
    if (
        end.get("reason") == "DeadlineExceeded"
        and pod
        and not over(pod)
        and (stuck := standing(snapshot))
    ):
        return Reason(
            "DeadlineExceeded",
            f"{end.get('message')}; until then {stuck.word}: {stuck.message}",
            stuck.cure,
        )
    return _named(end.get("reason", "Failed"), end.get("message", ""))


def _named(word: str, message: str) -> Reason:
    return Reason(word, message, CURES.get(word, ""))


def _suspension(job: Json) -> tuple[str, str]:
    queue = job["metadata"].get("labels", {}).get(KUEUE)
    return (
        ("Queued", f"it waits in Kueue's queue {queue}")
        if queue
        else ("Suspended", "the Job is suspended")
    )


def _unscheduled(pod: Json) -> Reason | None:
    refused = condition(pod, "PodScheduled", "False")
    if refused is None:
        return None
    reason = _named(refused.get("reason", "Unschedulable"), refused.get("message", ""))
    return Reason(reason.word, reason.message, GPU_CURE) if _wants_gpu(reason.message) else reason


def _wants_gpu(message: str) -> bool:
    """Whether the scheduler misses an extended resource (vendor.com/thing), which for us is a GPU."""
    return any("/" in missing.split()[0] for missing in message.split("Insufficient ")[1:])


def _waiting(pod: Json) -> Reason | None:
    """What the kubelet waits for, in any container: one of init, or a sidecar, holds ours up as well."""
    status = pod.get("status", {})
    for each in [
        *(status.get("initContainerStatuses") or []),
        *(status.get("containerStatuses") or []),
    ]:
        waiting = (each.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return _named(waiting["reason"], waiting.get("message", ""))
    return None


def _warned(snapshot: RunSnapshot, kind: str) -> Reason | None:
    """The last warning about the Job or the pod that says why nothing comes of it."""
    warnings = sorted(_warnings(snapshot, kind), key=_when)
    return _named(warnings[-1]["reason"], warnings[-1].get("message", "")) if warnings else None


def _warnings(snapshot: RunSnapshot, kind: str) -> Iterator[Json]:
    for event in snapshot.events:
        if event["involvedObject"].get("kind") == kind and event.get("reason") in WARNINGS:
            yield event


def _when(event: Json) -> str:
    return (
        event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
        or ""
    )


def _where(pod: Json) -> str:
    return f"the pod {pod['metadata']['name']}"

"""Why a run waits, or why its pod ended: the word and message of Kubernetes, and what to do."""

from dataclasses import dataclass

from job.launcher.objects import ClusterEvent, Condition, Pod
from job.launcher.snapshot import RunSnapshot

IMAGE_CURE = (
    "Check the image's name and tag, imagePullSecrets, and that the nodes reach its registry."
)
CONFIG_CURE = (
    "Create in this namespace what is missing, or correct its name "
    "(credentials, caBundle, extraEnv)."
)
GPU_CURE = (
    "No node has so many free GPUs of that kind: ask for fewer (gpus.count), name another kind "
    "(gpus.resource), wait for others to end, or add a node with its device plugin."
)
# What to do, by the word of Kubernetes.
CURES = {
    "Unschedulable": "Ask for what a node has (gpus, resources, nodeSelector, tolerations), "
    "or add such a node.",
    "SchedulingGated": "Wait, or ask the owner of the scheduling gate.",
    "ErrImagePull": IMAGE_CURE,
    "ImagePullBackOff": IMAGE_CURE,
    "InvalidImageName": IMAGE_CURE,
    "ErrImageNeverPull": IMAGE_CURE,
    "CreateContainerConfigError": CONFIG_CURE,
    "FailedMount": CONFIG_CURE,
    "FailedCreate": "Ask for less than the quota leaves, or correct what the cluster refuses.",
    "OOMKilled": "Raise resources.limits.memory, or lower GRAFT_TRAINING_BATCH_SIZE.",
    "Evicted": "Raise cache.size or scratch.size if a volume was full; "
    "else give the pod more of what the node lacked.",
    "DeadlineExceeded": "Raise job.activeDeadlineSeconds; "
    "started again, it goes on from its checkpoint.",
    "BackoffLimitExceeded": "Read the log (graft logs); "
    "started again, it goes on from its checkpoint.",
    "Queued": "Wait: Kueue lets it start when its queue has room.",
    "Suspended": "Somebody has suspended the Job: set its spec.suspend to false.",
}
# Events that say why a pod does not come into being, or does not start.
WARNINGS = ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "FailedCreate")
# A container that waits with these words will start soon.
ORDINARY_WAITS = ("", "ContainerCreating", "PodInitializing")


@dataclass(frozen=True, slots=True)
class Reason:
    """The word of Kubernetes, its message, and our advice."""

    word: str
    message: str
    cure: str = ""

    def __str__(self) -> str:
        message = " ".join(self.message.split()).rstrip(".")
        text = f"{self.word}: {message}." if message else f"{self.word}."
        return f"{text} {self.cure}" if self.cure else text


def explain_wait(snapshot: RunSnapshot) -> Reason | None:
    """Return why the run has not begun; None if it has, or if a little patience is all it needs."""
    job, pod = snapshot.job, snapshot.newest_pod
    if job.suspended:
        if job.queue:
            return _look_up_cure("Queued", f"it waits in Kueue's queue {job.queue}")
        return _look_up_cure("Suspended", "the Job is suspended")
    # The Job itself reports that it cannot create the first pod, or a replacement for a dead one.
    if pod is None or pod.is_over:
        return _find_warning(snapshot, "Job")
    if pod.has_begun:
        return None
    return _explain_pending_pod(pod) or _find_warning(snapshot, "Pod")


def _explain_pending_pod(pod: Pod) -> Reason | None:
    if refusal := pod.find_condition("PodScheduled", "False"):
        reason = _look_up_cure(refusal.reason or "Unschedulable", refusal.message)
        # An extended resource has a domain (vendor.com/thing). Ours can only be a GPU.
        for missing in refusal.message.split("Insufficient ")[1:]:
            if "/" in missing.split()[0]:
                return Reason(reason.word, reason.message, GPU_CURE)
        return reason

    # Any container counts: ours waits for those of init, and a broken sidecar holds up the pod.
    for container in pod.containers:
        if container.kind == "waiting" and container.reason not in ORDINARY_WAITS:
            return _look_up_cure(container.reason, container.message)
    return None


def explain_pod_end(pod: Pod) -> Reason | None:
    """Return what ended the pod, or is ending it, from outside; None if its program ended."""
    container = pod.container
    ended_with = container.reason if container.kind == "terminated" else ""
    # First, because the pod's own reason and conditions say nothing about memory.
    if ended_with == "OOMKilled":
        return _look_up_cure("OOMKilled", f"the pod {pod.name} needed more memory than its limit")
    # The kubelet's: Evicted, DeadlineExceeded, NodeLost, OutOfcpu, …
    if pod.reason:
        return _look_up_cure(pod.reason, pod.message)
    if disruption := pod.find_condition("DisruptionTarget", "True"):
        return _look_up_cure(disruption.reason or "DisruptionTarget", disruption.message)
    # ContainerCannotRun, StartError, …: the program has not begun.
    if ended_with not in ("", "Completed", "Error"):
        return _look_up_cure(ended_with, container.message)
    if pod.deleted:
        return Reason("Deleted", f"the pod {pod.name} was deleted")
    return None


def explain_failure(snapshot: RunSnapshot) -> Reason:
    """Return why a Job has failed: what ended its last pod, else what the Job itself says."""
    end = snapshot.job.end or Condition("Failed", "True")
    pod = snapshot.newest_pod
    if end.reason == "DeadlineExceeded":
        # Time ran out, but the pod never ran: the cause is what held it up.
        if pod and not pod.is_over and (wait := explain_wait(snapshot)):
            message = f"{end.message}; until then {wait.word}: {wait.message}"
            return Reason(end.reason, message, wait.cure)
    elif pod and (ended := explain_pod_end(pod)):
        return ended
    return _look_up_cure(end.reason or "Failed", end.message)


def _look_up_cure(word: str, message: str) -> Reason:
    return Reason(word, message, CURES.get(word, ""))


def _find_warning(snapshot: RunSnapshot, kind: str) -> Reason | None:
    """Return the last warning about the Job or the pod that explains a wait."""
    last: ClusterEvent | None = None
    for event in snapshot.events:
        if event.kind == kind and event.reason in WARNINGS:
            # The API gives events in no order.
            last = event if last is None or event.time >= last.time else last
    return _look_up_cure(last.reason, last.message) if last else None

"""Jobs, pods and events of Kubernetes, each parsed once from the JSON of its API.

Only what Graft reads has an attribute. A Job that is copied stays plain JSON (see `template`),
because a copy must keep the fields that this client does not know.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias, get_args

Json: TypeAlias = dict[str, Any]
StateKind = Literal["waiting", "running", "terminated"]

# The chart fixes the name of our container. Others may run beside it, such as injected sidecars.
CONTAINER = "graft"
RUN_LABEL = "batch.kubernetes.io/job-name"
# The uid of the Job: a later Job of the same name has another one.
OWNER_LABEL = "batch.kubernetes.io/controller-uid"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a Job or a pod; its status is `True`, `False` or `Unknown`."""

    type: str
    status: str
    reason: str = ""
    message: str = ""

    @classmethod
    def from_json(cls, condition: Json) -> "Condition":
        """Parse one element of `conditions`."""
        reason, message = condition.get("reason", ""), condition.get("message", "")
        return cls(condition["type"], condition["status"], reason, message)


@dataclass(frozen=True, slots=True)
class ContainerState:
    """What a container does. The default is that of Kubernetes: it waits, for no stated reason."""

    kind: StateKind = "waiting"
    reason: str = ""
    message: str = ""
    exit_code: int | None = None

    @classmethod
    def from_json(cls, status: Json) -> "ContainerState":
        """Parse one element of `containerStatuses` or `initContainerStatuses`."""
        state = status.get("state") or {}
        for kind in get_args(StateKind):
            # Only the key says which state it is: `{"running": {}}` is one, too.
            if kind in state:
                detail = state[kind]
                reason, message = detail.get("reason", ""), detail.get("message", "")
                return cls(kind, reason, message, detail.get("exitCode"))
        return cls()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One pod of a run.

    Attributes:
        run: name of its Job.
        owner: uid of its Job.
        worker: its index among the workers of the run; 0 is the chief.
        node: name of its node, empty before it has one.
        created: RFC 3339 in UTC, so that text sorts as time does.
        deleted: whether somebody has asked for its deletion, so that it goes soon.
        phase: `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
        reason: the kubelet's word for an end of the whole pod, such as `Evicted`.
        container: the state of our container.
        containers: the states of all containers, those of init first.
    """

    name: str
    run: str
    owner: str
    worker: int
    node: str
    created: str
    deleted: bool
    phase: str
    reason: str
    message: str
    conditions: tuple[Condition, ...]
    container: ContainerState
    containers: tuple[ContainerState, ...]

    @classmethod
    def from_json(cls, pod: Json) -> "Pod":
        """Parse a pod as the API gives it."""
        metadata, status = pod["metadata"], pod.get("status", {})
        # Each list may be missing or null.
        init_statuses = status.get("initContainerStatuses") or []
        statuses = status.get("containerStatuses") or []
        ours = ContainerState()
        for each in statuses:
            if each["name"] == CONTAINER:
                ours = ContainerState.from_json(each)
        return cls(
            name=metadata["name"],
            run=metadata["labels"][RUN_LABEL],
            owner=metadata["labels"].get(OWNER_LABEL, ""),
            # Only the pods of an Indexed Job, which has several workers, carry a number.
            worker=int(metadata.get("annotations", {}).get(INDEX_ANNOTATION, 0)),
            node=pod["spec"].get("nodeName", ""),
            created=metadata["creationTimestamp"],
            deleted="deletionTimestamp" in metadata,
            phase=status.get("phase", ""),
            reason=status.get("reason", ""),
            message=status.get("message", ""),
            conditions=_parse_conditions(status),
            container=ours,
            containers=tuple(map(ContainerState.from_json, [*init_statuses, *statuses])),
        )

    @property
    def has_begun(self) -> bool:
        """Whether our container runs or has run."""
        return self.container.kind != "waiting"

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen in it any more."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def is_running(self) -> bool:
        """Whether our container runs."""
        return self.has_begun and not self.is_over

    @property
    def has_whole_log(self) -> bool:
        """Whether nothing will be added to the log of our container."""
        # The phase of the pod follows only when all of its containers have ended.
        return self.is_over or self.container.kind == "terminated"

    def find_condition(self, kind: str, status: str) -> Condition | None:
        """Return the condition of that type if it has that status."""
        for condition in self.conditions:
            if (condition.type, condition.status) == (kind, status):
                return condition
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The Job of one run.

    Attributes:
        uid: tells it from an earlier or later Job of the same name.
        version: its `resourceVersion`, from which a watch goes on.
        queue: name of its queue in Kueue, empty without one.
        ended_pods: number of its pods that have succeeded or failed.
    """

    name: str
    uid: str
    version: str
    created: datetime
    suspended: bool
    queue: str
    conditions: tuple[Condition, ...]
    ended_pods: int

    @classmethod
    def from_json(cls, job: Json) -> "Job":
        """Parse a Job as the API gives it."""
        metadata, status = job["metadata"], job.get("status", {})
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            version=metadata["resourceVersion"],
            created=datetime.fromisoformat(metadata["creationTimestamp"]),
            suspended=bool(job["spec"].get("suspend")),
            queue=metadata.get("labels", {}).get(QUEUE_LABEL, ""),
            conditions=_parse_conditions(status),
            ended_pods=status.get("succeeded", 0) + status.get("failed", 0),
        )

    @property
    def end(self) -> Condition | None:
        """The condition that says that the Job is over, and why."""
        for condition in self.conditions:
            if condition.status == "True" and condition.type in ("Complete", "Failed"):
                return condition
        return None

    @property
    def completed(self) -> bool:
        return self.end is not None and self.end.type == "Complete"


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """What the cluster reports about one object; `kind` is that object's kind, `time` RFC 3339."""

    kind: str
    reason: str
    message: str
    time: str

    @classmethod
    def from_json(cls, event: Json) -> "ClusterEvent":
        """Parse an event as the API gives it."""
        # Each generation of reporters fills another one of these fields.
        time = event.get("lastTimestamp") or event.get("eventTime")
        return cls(
            kind=event["involvedObject"].get("kind", ""),
            reason=event.get("reason", ""),
            message=event.get("message", ""),
            time=time or event["metadata"].get("creationTimestamp") or "",
        )


def _parse_conditions(status: Json) -> tuple[Condition, ...]:
    return tuple(map(Condition.from_json, status.get("conditions") or []))

"""What Pod Security *restricted* and we ourselves ask of a rendered release."""

from collections.abc import Iterator

from tests.chart.rendering import Tree, job, pods

RULES = [
    {
        "action": "FailJob",
        "onExitCodes": {"containerName": "graft", "operator": "In", "values": [2, 3, 4, 5, 6]},
    },
    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
]
# Of several workers, one that only lost another is not counted.
LOST = {
    "action": "Ignore",
    "onExitCodes": {"containerName": "graft", "operator": "In", "values": [76]},
}
# What a restricted pod may mount.
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def findings(objects: list[Tree]) -> Iterator[str]:
    """Every weakness of the release; none is what it should have."""
    yield from _job_findings(job(objects))
    for pod in pods(objects):
        yield from _pod_findings(pod["spec"])
    for account in (item for item in objects if item["kind"] == "ServiceAccount"):
        yield from _demand(account, {"automountServiceAccountToken": False})
    yield from (f"{item['kind']} gives permissions" for item in objects if "Role" in item["kind"])


def _demand(found: Tree, wanted: Tree) -> Iterator[str]:
    """Each field must be there with this value: a default of Kubernetes is not enough."""
    yield from (
        f"{key} is {found.get(key)!r}" for key, value in wanted.items() if found.get(key) != value
    )


def _job_findings(spec: Tree) -> Iterator[str]:
    rules = [*RULES, LOST] if spec.get("completionMode") == "Indexed" else RULES
    yield from _demand(
        spec, {"podReplacementPolicy": "Failed", "podFailurePolicy": {"rules": rules}}
    )
    yield from _demand(spec, {"backoffLimit": 3, "activeDeadlineSeconds": 86_400})
    if "suspend" in spec:
        yield "suspend is Kueue's"


def _pod_findings(spec: Tree) -> Iterator[str]:
    yield from _demand(
        spec,
        {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
        }
        | {"terminationGracePeriodSeconds": 120},
    )
    yield from (
        f"{key} is set" for key in ("hostNetwork", "hostPID", "hostIPC", "hostUsers") if key in spec
    )
    context = spec.get("securityContext", {})
    yield from _demand(
        context, {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    )
    yield from (
        f"{key} is fixed" for key in ("runAsUser", "runAsGroup", "sysctls") if key in context
    )
    for volume in spec["volumes"]:
        if not volume.keys() <= VOLUMES | {"name"}:
            yield f"volume {volume['name']} is of the node"
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            yield f"volume {volume['name']} may fill the node"
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        yield from _container_findings(container)


def _container_findings(container: Tree) -> Iterator[str]:
    context = container.get("securityContext", {})
    yield from _demand(
        context,
        {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    )
    yield from (
        f"{key} is set" for key in ("privileged", "procMount", "runAsUser") if key in context
    )
    if "memory" not in container.get("resources", {}).get("limits", {}):
        yield "memory has no limit"
    yield from ("a port of the node" for port in container.get("ports", []) if "hostPort" in port)
    if container["name"] == "graft":
        yield from _training_findings(container)


def _training_findings(container: Tree) -> Iterator[str]:
    yield from _demand(container, {"terminationMessagePolicy": "FallbackToLogsOnError"})
    for kind in ("requests", "limits"):
        if "ephemeral-storage" not in container.get("resources", {}).get(kind, {}):
            yield f"the disk of the node is not among the {kind}"
    given = {entry["name"]: entry.get("value") for entry in container["env"]}
    gpus = any(
        key.startswith("nvidia.com/") for key in container.get("resources", {}).get("limits", {})
    )
    if not gpus and given.get("NVIDIA_VISIBLE_DEVICES") != "void":
        yield "GPUs are seen that were not asked for"
    yield from (f"{name} is a secret's value" for name in given if "SECRET" in name and given[name])

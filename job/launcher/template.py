"""A Job from the jobTemplate of a CronJob: what is copied, what is changed, what it is called."""

import copy
import hashlib
import secrets
from collections.abc import Mapping

from job.errors import SettingsError
from job.launcher.cluster import MAIN, Json

LONGEST = 63
"""Characters of a Job's name, which is also the host name of its pods."""
DIGITS = 10
KUEUE = "kueue.x-k8s.io/queue-name"
MANUAL = {"cronjob.kubernetes.io/instantiate": "manual"}


def job_from(template: Json, changes: Mapping[str, str], key: str | None) -> Json:
    """The Job that `graft submit` creates.

    Args:
        template: the CronJob.
        changes: variables by name; each replaces the one of that name.
        key: runs of one key are one run; None makes a new one each time.
    """
    blueprint = copy.deepcopy(template["spec"]["jobTemplate"])
    given, spec = blueprint.get("metadata") or {}, blueprint["spec"]
    labels = given.get("labels") or {}
    if KUEUE not in labels:
        spec.pop("suspend", None)
    container = main_of(spec)
    container["env"] = replaced(container.get("env") or [], changes)
    metadata = {
        "name": run_name(template["metadata"]["name"], key, _index_length(spec)),
        "labels": labels,
        "annotations": (given.get("annotations") or {}) | MANUAL,
        "ownerReferences": [_owner(template)],
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def main_of(spec: Json) -> Json:
    """Our container of a Job's specification, among those that others may have added.

    Raises:
        SettingsError: there is none, so it is not one of our templates.
    """
    for container in spec["template"]["spec"]["containers"]:
        if container["name"] == MAIN:
            found: Json = container
            return found
    raise SettingsError(
        f"The template has no container named {MAIN}: the chart did not make it.",
        "Name a CronJob of the chart.",
    )


def replaced(env: list[Json], changes: Mapping[str, str]) -> list[Json]:
    """`env` with the changes, each in the place of the entry of that name, new ones at the end; every name once."""
    # Kubernetes would put another variable in the place of $(NAME): a value means what it says.
    changed = {
        name: {"name": name, "value": value.replace("$", "$$")} for name, value in changes.items()
    }
    return list(({entry["name"]: entry for entry in env} | changed).values())


def run_name(template: str, key: str | None, index_length: int = 0) -> str:
    """`template` and a digest of template and key, or chance; cut before the digest where that would be too long."""
    chosen = secrets.token_hex() if key is None else f"{template}\n{key}"
    digest = hashlib.sha256(chosen.encode()).hexdigest()[:DIGITS]
    room = LONGEST - index_length - len(f"-{digest}")
    return f"{template[:room].rstrip('-.')}-{digest}"


def _index_length(spec: Json) -> int:
    """What the pods of an Indexed Job add to its name: a hyphen and their number."""
    indexed = spec.get("completionMode") == "Indexed"
    return len(f"-{spec.get('completions', 1) - 1}") if indexed else 0


def _owner(template: Json) -> Json:
    """Collected with the template, but not as its controller, which would count, warn about and delete the Job."""
    metadata = template["metadata"]
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": metadata["name"],
        "uid": metadata["uid"],
    }

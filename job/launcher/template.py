"""A Job from the jobTemplate of a CronJob: what is copied, what is changed, and its name."""

import copy
import hashlib
import secrets
from collections.abc import Mapping

from job.errors import SettingsError
from job.launcher.objects import CONTAINER, QUEUE_LABEL, Json

# Characters of a Job's name, which is also the host name of its pods.
LONGEST_NAME = 63
DIGEST_DIGITS = 10
# What `kubectl create job --from=cronjob/…` notes as well.
MANUAL_ANNOTATION = {"cronjob.kubernetes.io/instantiate": "manual"}


def build_job(template: Json, changes: Mapping[str, str], key: str | None) -> Json:
    """Build the Job that `graft submit` creates.

    Args:
        template: the CronJob. Fields that this client does not know are copied with the rest.
        changes: variables by name; each replaces the one of that name.
        key: runs of one key are one run; None makes a new one each time.
    """
    blueprint = copy.deepcopy(template["spec"]["jobTemplate"])
    metadata, spec = blueprint.get("metadata") or {}, blueprint["spec"]
    labels = metadata.get("labels") or {}
    # The CronJob of a template is suspended, and so would be its Job. Kueue needs that: it starts
    # the Job itself.
    if QUEUE_LABEL not in labels:
        spec.pop("suspend", None)
    container = find_container(spec)
    container["env"] = replace_variables(container.get("env") or [], changes)

    # The pods of an Indexed Job add a hyphen and their number to its name.
    suffix = ""
    if spec.get("completionMode") == "Indexed":
        suffix = f"-{spec.get('completions', 1) - 1}"
    # Collected together with the template. As its controller, the CronJob would count this Job
    # among its own, warn about it and delete it.
    owner = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": template["metadata"]["name"],
        "uid": template["metadata"]["uid"],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": build_run_name(template["metadata"]["name"], key, len(suffix)),
            "labels": labels,
            "annotations": (metadata.get("annotations") or {}) | MANUAL_ANNOTATION,
            "ownerReferences": [owner],
        },
        "spec": spec,
    }


def find_container(spec: Json) -> Json:
    """Return our container of a Job's specification, among those that others may have added.

    Raises:
        SettingsError: there is none, so the chart did not make this template.
    """
    for container in spec["template"]["spec"]["containers"]:
        if container["name"] == CONTAINER:
            found: Json = container
            return found
    raise SettingsError(
        f"The template has no container named {CONTAINER}: the chart did not make it.",
        "Name a CronJob of the chart.",
    )


def replace_variables(env: list[Json], changes: Mapping[str, str]) -> list[Json]:
    """Return `env` with the changes in place, new ones at the end, and each name once."""
    entries = {entry["name"]: entry for entry in env}
    for name, value in changes.items():
        # Kubernetes would replace $(NAME) by another variable: here a value is meant literally.
        entries[name] = {"name": name, "value": value.replace("$", "$$")}
    return list(entries.values())


def build_run_name(template: str, key: str | None, suffix_length: int = 0) -> str:
    """Return the template's name, cut where needed, and a digest of template and key.

    Args:
        template: its name.
        key: None takes a random one.
        suffix_length: characters that Kubernetes appends for the pods.
    """
    content = secrets.token_hex() if key is None else f"{template}\n{key}"
    digest = hashlib.sha256(content.encode()).hexdigest()[:DIGEST_DIGITS]
    room = LONGEST_NAME - suffix_length - len(f"-{digest}")
    return f"{template[:room].rstrip('-.')}-{digest}"

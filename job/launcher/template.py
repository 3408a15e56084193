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
# Seconds that an ended Job stays at least. Whoever waits for it must be able to read its result.
SHORTEST_STAY = 600
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
    spec = blueprint["spec"]
    # Each of these may be missing or null.
    metadata = blueprint.get("metadata") or {}
    labels = metadata.get("labels") or {}
    annotations = metadata.get("annotations") or {}
    # The CronJob of a template is suspended, and so would be its Job. Kueue needs that: it starts
    # the Job itself.
    if QUEUE_LABEL not in labels:
        spec.pop("suspend", None)
    stay = spec.get("ttlSecondsAfterFinished")
    if stay is not None:
        spec["ttlSecondsAfterFinished"] = max(stay, SHORTEST_STAY)
    container = find_container(spec)
    env = container.get("env") or []
    container["env"] = replace_variables(env, changes)

    # The pods of an Indexed Job add a hyphen and their number to its name.
    suffix = ""
    if spec.get("completionMode") == "Indexed":
        last = spec.get("completions", 1) - 1
        suffix = f"-{last}"
    own_metadata = template["metadata"]
    # Collected together with the template. As its controller, the CronJob would count this Job
    # among its own, warn about it and delete it.
    owner = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": own_metadata["name"],
        "uid": own_metadata["uid"],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": build_run_name(own_metadata["name"], key, len(suffix)),
            "labels": labels,
            "annotations": annotations | MANUAL_ANNOTATION,
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
    # A part of a host name must not end in a hyphen or a dot.
    beginning = template[:room].rstrip("-.")
    return f"{beginning}-{digest}"

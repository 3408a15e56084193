"""Start a run from an installed template or schedule, after a check of its settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from job import settings
from job.launcher.cluster import Cluster
from job.launcher.objects import Json
from job.launcher.template import build_job, find_container

# Take the place of the required addresses where only the pod will see the real ones.
UNREAD_ADDRESSES = {
    f"{settings.PREFIX}DATASET_URI": "s3://images-read-in-the-cluster",
    f"{settings.PREFIX}OUTPUT_URI": "s3://releases-read-in-the-cluster",
}


@dataclass(frozen=True, slots=True)
class Submitted:
    """A run that goes on in the cluster.

    Attributes:
        name: of its Job.
        attached: whether it existed before.
        differs: variables that an existing run has otherwise than was asked for.
    """

    name: str
    attached: bool = False
    differs: tuple[str, ...] = ()


def submit(
    cluster: Cluster,
    template: str,
    changes: Mapping[str, str],
    key: str | None = None,
) -> Submitted:
    """Create a Job from a CronJob, or attach to the one that the same key has created.

    Args:
        cluster: where both are.
        template: name of a CronJob of the chart.
        changes: settings by variable name, in place of the template's own.
        key: the identity of the caller, such as a workflow's uid: the same key never starts a
            second run.

    Raises:
        SettingsError: the settings cannot work, or the cluster refuses the Job; nothing has been
            created.
        ClusterNotFound: there is no such template; the message names those that exist.
    """
    cron_job = cluster.read_template(template)
    job = build_job(cron_job, changes, key)
    container = find_container(job["spec"])
    # Before the Job exists: nobody should wait for a node to learn of a misspelt name.
    check_settings(container)
    name = job["metadata"]["name"]
    if cluster.create_job(job):
        return Submitted(name)

    existing = cluster.read_job_json(name)
    ours = _index_variables(container)
    theirs = _index_variables(find_container(existing["spec"]))
    differs = []
    for variable in sorted(ours | theirs):
        if ours.get(variable) != theirs.get(variable):
            differs.append(variable)
    return Submitted(name, attached=True, differs=tuple(differs))


def check_settings(container: Json) -> None:
    """Refuse the settings that the run itself would refuse.

    What comes from a Secret, a ConfigMap or a field of the pod (`valueFrom`, `envFrom`) is known
    only in the cluster: the name of such a variable is checked, and any value is accepted.

    Raises:
        SettingsError: every problem at once.
    """
    entries = _index_variables(container)
    values = _expand_references(entries)
    # An empty value is an unset one: the name is checked, and nothing else.
    environment = dict.fromkeys(entries, "") | values
    for name, address in UNREAD_ADDRESSES.items():
        is_unread = container.get("envFrom") or "valueFrom" in entries.get(name, {})
        if is_unread and name not in values:
            environment[name] = address
    settings.load(environment)


def _index_variables(container: Json) -> dict[str, Json]:
    return {entry["name"]: entry for entry in container.get("env") or []}


def _expand_references(entries: Mapping[str, Json]) -> dict[str, str]:
    """Return the plain values as the pod sees them, with each `$(NAME)` replaced."""
    values: dict[str, str] = {}

    def expand(reference: re.Match[str]) -> str:
        if reference[0] == "$$":
            return "$"
        # Kubernetes leaves a reference to an unknown or later variable as it is.
        return values.get(reference[1], reference[0])

    for name, entry in entries.items():
        if "valueFrom" not in entry:
            value = entry.get("value", "")
            values[name] = re.sub(r"\$\$|\$\(([^)]+)\)", expand, value)
    return values

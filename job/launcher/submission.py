"""Start a run from an installed template or schedule, after a check of its settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from job import settings
from job.errors import TEMPORARY_CODES, SettingsError
from job.launcher import outcome
from job.launcher.answers import ClusterConflict, ClusterNotFound
from job.launcher.cluster import Cluster
from job.launcher.objects import Job, Json
from job.launcher.snapshot import RunSnapshot
from job.launcher.template import build_job, find_container

# Take the place of the required addresses where only the pod will see the real ones.
UNREAD_ADDRESSES = {
    f"{settings.PREFIX}DATASET_URI": "s3://images-read-in-the-cluster",
    f"{settings.PREFIX}OUTPUT_URI": "s3://releases-read-in-the-cluster",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A run that goes on in the cluster.

    Attributes:
        name: of its Job.
        attached: whether it existed before.
        ended: whether it is over already.
        differs: variables that an existing run has otherwise than was asked for.
        resumes: name of an earlier Job of the same key, which a retry may help and which has ended:
            this one goes on from its checkpoint.
    """

    name: str
    attached: bool = False
    ended: bool = False
    differs: tuple[str, ...] = ()
    resumes: str = ""


def submit(
    cluster: Cluster,
    template: str,
    changes: Mapping[str, str],
    key: str | None = None,
) -> Submitted:
    """Create a Job from a CronJob, or attach to the one that the same key has created.

    Where that one has failed and a retry may help (exit code 75 or 76), the key creates one Job
    more. It is the same run, so it goes on from its checkpoint.

    Args:
        cluster: where both are.
        template: name of a CronJob of the chart.
        changes: settings by variable name, in place of the template's own.
        key: the identity of the caller, such as a workflow's uid: the same key never starts a
            second run.

    Raises:
        SettingsError: the key is empty, the settings cannot work, or the cluster refuses the Job;
            nothing has been created.
        ClusterNotFound: there is no such template; the message names those that exist.
        TemporaryError: a quota leaves no room now, or the API server is away.
    """
    if key is not None and not key.strip():
        raise SettingsError(
            "The key is empty: every run with an empty key would be one and the same.",
            "Check the variable that the key comes from, or leave the key out.",
        )
    cron_job = cluster.read_template(template)
    # Before the Job exists: nobody should wait for a node to learn of a misspelt name.
    check_settings(find_container(build_job(cron_job, changes, key)["spec"]))
    attempt, resumes = 1, ""
    while True:
        job = build_job(cron_job, changes, _name_attempt(key, attempt))
        name = job["metadata"]["name"]
        if cluster.create_job(job):
            return Submitted(name=name, resumes=resumes)

        try:
            existing = cluster.read_job_json(name)
        except ClusterNotFound as error:
            raise ClusterConflict(
                f"The run {name} was deleted at the moment at which it was found.", "Try again."
            ) from error
        if not _may_resume(cluster, existing):
            return _attach(job, existing)
        attempt, resumes = attempt + 1, name


def _name_attempt(key: str | None, attempt: int) -> str | None:
    """Return the key of one Job among those of a run."""
    # No key that somebody can type contains this separator.
    return key if key is None or attempt == 1 else f"{key}\0{attempt}"


def _may_resume(cluster: Cluster, existing: Json) -> bool:
    """Return whether an existing Job has failed in a way that a retry may help."""
    job = Job.from_json(existing)
    # The chart's policy fails a Job at once for the exit codes that are final.
    if job.end is None or job.completed or job.end.reason == "PodFailurePolicy":
        return False
    snapshot = RunSnapshot(job, tuple(cluster.list_pods(job)))
    return outcome.build_result(snapshot).exit_code in TEMPORARY_CODES


def _attach(wanted: Json, existing: Json) -> Submitted:
    """Return an existing Job as what was submitted, with the variables that it has otherwise."""
    ours = _index_variables(find_container(wanted["spec"]))
    theirs = _index_variables(find_container(existing["spec"]))
    differs = []
    for variable in sorted(ours | theirs):
        if ours.get(variable) != theirs.get(variable):
            differs.append(variable)
    job = Job.from_json(existing)
    return Submitted(
        name=job.name, attached=True, ended=job.end is not None, differs=tuple(differs)
    )


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

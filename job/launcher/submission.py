"""Start a run from an installed template or schedule, once its settings have been found good."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from job import settings
from job.launcher.cluster import Cluster, Json
from job.launcher.template import job_from, main_of

UNREAD = {
    f"{settings.PREFIX}{group}_URI": "s3://read-in-the-cluster" for group in ("DATASET", "OUTPUT")
}
"""Stands for a required address that only the pod will see."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A run that goes on in the cluster; `attached` if it was there before, `differs` in these variables from it."""

    name: str
    attached: bool = False
    differs: tuple[str, ...] = ()


def submit(
    cluster: Cluster, template: str, changes: Mapping[str, str], key: str | None = None
) -> Submitted:
    """Create a Job from the CronJob `template`, or attach to the one that the same `key` has created.

    Args:
        template: name of a CronJob of the chart.
        changes: settings by variable name, in place of the template's own.
        key: the identity of whoever asks, such as a workflow's uid: the same key never starts a
            second run.

    Raises:
        SettingsError: the settings cannot work, or the cluster refuses the Job; nothing has been
        created. ClusterNotFound: there is no such template; the message names those that are there.
    """
    job = job_from(cluster.template(template), changes, key)
    check(main_of(job["spec"]))
    name = job["metadata"]["name"]
    if cluster.create(job):
        return Submitted(name)
    there = cluster.job(name)
    return Submitted(
        name,
        attached=True,
        differs=tuple(_differences(main_of(job["spec"]), main_of(there["spec"]))),
    )


def check(container: Json) -> None:
    """Refuse settings that the run itself would refuse.

    What comes from a Secret, a ConfigMap or a field of the pod (`valueFrom`, `envFrom`) is only
    known in the cluster: the name of such a variable is checked, its value is taken for good.

    Raises:
        SettingsError: every problem at once.
    """
    entries = {entry["name"]: entry for entry in container.get("env") or []}
    values = _expanded(entries)
    unread = {
        name for name in UNREAD if "valueFrom" in entries.get(name, {}) or container.get("envFrom")
    }
    with _environment({name: UNREAD[name] for name in unread} | values | _named(entries, unread)):
        settings.load()


def _named(entries: Mapping[str, Json], unread: set[str]) -> dict[str, str]:
    """Variables without a value to check, empty: the name is seen, the value is not."""
    return {
        name: "" for name, entry in entries.items() if "valueFrom" in entry and name not in unread
    }


def _expanded(entries: Mapping[str, Json]) -> dict[str, str]:
    """The plain values as the pod sees them: `$(NAME)` is an earlier variable, `$$` a dollar."""
    values: dict[str, str] = {}
    for name, entry in entries.items():
        if "valueFrom" not in entry:
            values[name] = re.sub(
                r"\$\$|\$\(([^)]+)\)",
                lambda found: "$" if not found[1] else values.get(found[1], found[0]),
                entry.get("value", ""),
            )
    return values


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """The settings of another process in the place of our own, which `settings` reads."""
    own = {name: value for name, value in os.environ.items() if name.startswith(settings.PREFIX)}
    other = {name: value for name, value in variables.items() if name.startswith(settings.PREFIX)}
    try:
        _exchange(own, other)
        yield
    finally:
        _exchange(other, own)


def _exchange(old: Mapping[str, str], new: Mapping[str, str]) -> None:
    for name in old:
        del os.environ[name]
    os.environ.update(new)


def _differences(wanted: Json, there: Json) -> Iterator[str]:
    """Variables that the run does not have as they were asked for."""
    asked, given = (
        {entry["name"]: entry for entry in each.get("env") or []} for each in (wanted, there)
    )
    return (name for name in sorted(asked | given) if asked.get(name) != given.get(name))

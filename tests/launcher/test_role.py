"""manifests/launcher-role.yaml grants what the launcher asks for: all of it, and nothing else."""

import re
from contextlib import suppress

import yaml

from job import launcher
from job.errors import JobError
from job.launcher.objects import Job
from tests.launcher.conftest import BATCH, CORE, Recording
from tests.launcher.objects import RUN, job, pod, template, terminated
from tools.paths import MANIFESTS

Right = tuple[str, str, str]


def granted() -> set[Right]:
    documents = list(yaml.safe_load_all((MANIFESTS / "launcher-role.yaml").read_text()))
    (role,) = (each for each in documents if each["kind"] == "Role")
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def right(method: str, path: str) -> Right:
    """What RBAC checks in a request."""
    found = re.fullmatch(
        r"/(?:api|apis/(\w+))/v1/namespaces/graft/(\w+)(?:/([^/]+)(?:/(\w+))?)?", path
    )
    assert found, path
    group, resource, name, part = found.groups()
    verbs = {
        "GET": "get" if name else "list",
        "WATCH": "watch",
        "POST": "create",
        "DELETE": "delete",
    }
    return group or "", f"{resource}/{part}" if part else resource, verbs[method]


def test_the_launcher_asks_for_just_what_its_role_grants(
    cluster: launcher.Cluster, recording: Recording
) -> None:
    recording.says(f"GET {BATCH}/cronjobs/graft", template())
    recording.lists(f"GET {BATCH}/cronjobs", template())
    recording.lists(f"GET {BATCH}/jobs", job())
    recording.says(f"POST {BATCH}/jobs", job(), 201)
    recording.says(f"GET {BATCH}/jobs/{RUN}", job())
    recording.says(f"WATCH {BATCH}/jobs", {"type": "MODIFIED", "object": {}})
    recording.says(f"DELETE {BATCH}/jobs/{RUN}", {})
    recording.lists(f"GET {CORE}/pods")
    recording.lists(f"GET {CORE}/pods", pod(**terminated(75)))
    recording.lists(f"GET {CORE}/events")
    recording.says(f"GET {CORE}/pods/{RUN}-abcde/log", [b"2026-01-02T03:04:05.000000000Z hello\n"])
    launcher.submit(cluster, "graft", {})
    for call in (
        lambda: launcher.submit(cluster, "gaft", {}),
        lambda: launcher.watch(cluster, RUN, print, start_timeout=0, cancel=True),
        lambda: cluster.await_change(Job.from_json(job()), 1),
        lambda: launcher.list_runs(cluster),
        lambda: next(launcher.follow_logs(cluster, RUN)),
    ):
        with suppress(JobError):
            call()
    assert {right(*request) for request in recording.asked} == granted()


def test_the_role_is_bound_to_an_account_of_its_own_namespace() -> None:
    account, role, binding = yaml.safe_load_all((MANIFESTS / "launcher-role.yaml").read_text())
    (subject,) = binding["subjects"]
    assert (subject["kind"], subject["name"], subject["namespace"]) == (
        account["kind"],
        account["metadata"]["name"],
        account["metadata"]["namespace"],
    )
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert role["kind"] == binding["roleRef"]["kind"] == "Role"

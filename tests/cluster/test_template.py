"""Runs started from a template: from outside, from a pod with the launcher's rights, by kubectl."""

import json
from typing import Any

import pytest
import yaml

from tests.cluster.namespace import RESTRICTED
from tests.cluster.site import Site
from tools.paths import ROOT

pytestmark = pytest.mark.cluster
ROLE = ROOT / "manifests" / "launcher-role.yaml"


@pytest.fixture
def template(site: Site) -> Site:
    site.add_photographs()
    site.helm("install", "flowers", launch="template")
    return site


def submit(site: Site, *arguments: str) -> Any:
    return site.graft("submit", "flowers", "--namespace", site.namespace.name, *arguments)


@pytest.mark.smoke
def test_submit_waits_for_the_result_and_one_key_is_one_run(template: Site) -> None:
    first = submit(template, "--key", "workflow-1", "--wait")
    assert first.returncode == 0, first.stderr
    result = json.loads(first.stdout)
    assert (result["status"], result["promoted"]) == ("released", True)
    second = submit(template, "--key", "workflow-1", "--wait")
    assert json.loads(second.stdout) == result
    assert len(template.jobs()) == 1
    template.kubectl("create", "job", "--from=cronjob/flowers", "by-hand")
    assert template.completed("by-hand")["status"] == "unchanged"


@pytest.mark.smoke
def test_a_setting_that_does_not_exist_is_refused_and_nothing_is_created(template: Site) -> None:
    refused = submit(template, "--set", "GRAFT_TRAINING_EPOCH=3")
    assert refused.returncode == 2
    assert "GRAFT_TRAINING_EPOCHS" in refused.stderr
    assert template.jobs() == []


def test_a_setting_of_the_caller_takes_the_place_of_the_templates(template: Site) -> None:
    done = submit(template, "--set", "GRAFT_NAME=roses", "--wait")
    assert done.returncode == 0, done.stderr
    assert "/models/roses/releases/" in json.loads(done.stdout)["release"]
    listed = template.graft("runs", "--namespace", template.namespace.name).stdout
    assert "released" in listed
    assert "/models/roses/releases/" in listed


@pytest.fixture
def launcher(site: Site) -> str:
    """The launcher's account, with the rights of manifests/launcher-role.yaml and no others."""
    for document in yaml.safe_load_all(ROLE.read_text()):
        document["metadata"]["namespace"] = site.namespace.name
        for subject in document.get("subjects", ()):
            subject["namespace"] = site.namespace.name
        _create(site, document)
    return "graft-launcher"


def _create(site: Site, document: dict[str, Any]) -> None:
    from kubernetes import utils

    utils.create_from_dict(site.namespace.core.api_client, document)


def test_submit_works_in_a_pod_that_has_the_launchers_role_alone(
    template: Site, launcher: str
) -> None:
    container = {
        "image": template.image,
        "command": ["graft", "submit", "flowers", "--wait"],
        "securityContext": RESTRICTED | {"readOnlyRootFilesystem": True},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    pod = {"serviceAccountName": launcher, "volumes": [{"name": "tmp", "emptyDir": {}}]}
    step = template.namespace.run("", pod=pod, container=container)
    outcome = template.namespace.outcome(step, 240)
    (ended,) = template.namespace.pods(step)
    printed = template.log(ended.metadata.name)
    assert outcome.type == "Complete", printed
    assert json.loads(printed.splitlines()[-1])["status"] == "released"


def test_finished_runs_outlive_the_history_of_the_cronjob(site: Site) -> None:
    """Kubernetes deletes old runs that a CronJob controls; it does not control a submitted run."""
    site.add_photographs()
    site.helm("install", "flowers", launch="template", schedule={"successfulJobsHistoryLimit": 0})
    for key in ("a", "b"):
        assert submit(site, "--key", key, "--wait").returncode == 0
    site.kubectl("annotate", "cronjob/flowers", "touched=1")  # the controller looks again
    site.namespace.run("sleep 5")
    assert len([job for job in site.jobs() if job.metadata.name.startswith("flowers-")]) == 2
    site.uninstall("flowers")
    assert not [job for job in site.jobs() if job.metadata.name.startswith("flowers-")]

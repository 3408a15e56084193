"""Runs in a queue of a real Kueue: let in one by one, preempted, resumed from the checkpoint."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.cluster import kueue
from tests.cluster.namespace import eventually
from tests.cluster.site import Site, Tree
from tools.cluster import target

pytestmark = [pytest.mark.cluster, pytest.mark.queue]
PRIORITY = "kueue.x-k8s.io/priority-class"
# Long enough to be preempted in, and no longer.
TRAINED = {
    "transfer": {"mode": "part"},
    "training": {"epochs": 15, "patience": 0},
    "checkpoint": {"interval_seconds": 1},
}


@pytest.fixture(scope="module")
def queues(api: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    if target.FOREIGN:
        pytest.skip("Kueue is installed on our own node alone.")
    with kueue.running(tmp_path_factory.mktemp("kueue")):
        yield


@pytest.fixture
def queued(queues: None, site: Site) -> Site:
    """A namespace with photographs and a way into the queue, which is empty."""
    # A pod of the test before may take its whole grace, and there is room for one run.
    kueue.wait_until_empty()
    target.kubectl("apply", "--filename=-", given=[kueue.local_queue(site.namespace.name)])
    site.add_photographs()
    return site


def read_job(site: Site, name: str) -> Any:
    return site.namespace.batch.read_namespaced_job(name, site.namespace.name)


def install(site: Site, release: str, priority: str, **values: Any) -> str:
    """Install a run of this priority, and return the name of its Job."""
    before = {job.metadata.name for job in site.jobs()}
    site.helm("install", release, queue="team", jobLabels={PRIORITY: priority}, **values)
    (name,) = {job.metadata.name for job in site.jobs()} - before
    return str(name)


def test_a_run_that_is_preempted_goes_on_from_its_checkpoint_once_there_is_room(
    queued: Site,
) -> None:
    flowers = install(queued, "flowers", "low", settings=TRAINED, job={"retries": 0})
    queued.until_logged(flowers, "checkpoint saved")

    urgent: Tree = {"name": "roses"}
    roses = install(queued, "roses", "high", settings=urgent)
    eventually(lambda: read_job(queued, flowers).spec.suspend)
    assert queued.completed(roses)["status"] == "released"

    queued.until_logged(flowers, "resumed at stage")
    assert queued.completed(flowers)["status"] == "released"
    # With no retries left, being preempted would have ended the run if it counted.
    assert not read_job(queued, flowers).status.failed


def test_several_workers_are_let_in_together_or_not_at_all(queued: Site) -> None:
    pair = install(queued, "pair", "low", workers=2, settings=TRAINED)
    flowers = install(queued, "flowers", "low")
    eventually(lambda: queued.namespace.pods(flowers))
    assert read_job(queued, pair).spec.suspend
    assert queued.namespace.pods(pair) == []


@pytest.mark.parametrize("major", [3, 4])
def test_an_upgrade_leaves_a_run_alone_that_has_got_the_tolerations_of_its_flavor(
    queued: Site, major: int
) -> None:
    site = replace(queued, major=major)
    values: Tree = {"settings": TRAINED, "jobLabels": {PRIORITY: "low"}}
    site.helm("install", "flowers", queue="team", **values)
    (before,) = site.jobs()
    name = before.metadata.name
    eventually(lambda: site.pods(name))
    tolerated = [one.key for one in read_job(site, name).spec.template.spec.tolerations]
    assert tolerated == [kueue.TOLERATION["key"]]

    site.helm("upgrade", "flowers", queue="team", **values)
    (after,) = site.jobs()
    assert after.metadata.uid == before.metadata.uid

    # Kueue lets nobody change the queue of a Job that has started: it has to be another Job.
    site.helm("upgrade", "flowers", queue="other", **values)
    others = {job.metadata.name: job for job in site.jobs() if not job.metadata.deletion_timestamp}
    (other,) = set(others) - {name}
    assert others[other].spec.suspend

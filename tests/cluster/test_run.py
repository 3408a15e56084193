"""`helm install` is one training run: what upgrades start or leave alone, what uninstall leaves."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.chart.rendering import copied
from tests.cluster import prometheus
from tests.cluster.site import Site, Tree

pytestmark = pytest.mark.cluster


@pytest.mark.smoke
def test_an_install_takes_a_bucket_of_photographs_to_a_promoted_release(
    site: Site, tmp_path: Path
) -> None:
    site.add_photographs()
    notes = site.helm("install", "flowers")
    assert f"The run {site.job()} was started." in notes
    pod = site.until_logged(site.job(), "dataset begins")
    with site.metrics(pod) as address, prometheus.scraping(tmp_path, address) as scraped:
        assert scraped.await_series("graft_phase_seconds")
        result = site.completed(site.job())
    assert (result["status"], result["promoted"]) == ("released", True)
    assert site.read("models/flowers/promoted.json")["run_id"] == result["run_id"]
    verified = site.graft("verify", result["release"])
    assert verified.returncode == 0, verified.stderr


def test_an_upgrade_that_changes_nothing_of_the_run_starts_nothing(
    site: Site, tmp_path: Path
) -> None:
    """Peers lose a finished run, or start another, when a chart version or a label changes."""
    site.add_photographs()
    site.helm("install", "flowers")
    job = site.job()
    site.completed(job)
    before = site.jobs()[0].metadata.uid
    site.helm("upgrade", "flowers")
    site.helm("upgrade", "flowers", chart=_renumbered(tmp_path))
    site.helm("upgrade", "flowers", job={"ttlSecondsAfterFinished": 3000, "retries": 5})
    (after,) = site.jobs()
    assert after.metadata.uid == before
    assert (after.spec.ttl_seconds_after_finished, after.spec.backoff_limit) == (3000, 5)
    assert len(site.pods(job)) == 1


def _renumbered(folder: Path) -> Path:
    chart = copied(folder)
    file = chart / "Chart.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"version": "99.0.0"}))
    return chart


def test_an_upgrade_that_changes_a_setting_runs_anew_and_run_again_runs_the_same_again(
    site: Site,
) -> None:
    site.add_photographs()
    site.helm("install", "flowers")
    first = site.job()
    run_id = site.completed(first)["run_id"]
    faster: Tree = {"settings": {"training": {"learning_rate": 0.01}}}
    site.helm("upgrade", "flowers", **faster)
    second = site.job()
    assert second != first
    assert site.completed(second)["run_id"] != run_id
    site.helm("upgrade", "flowers", "--set-string", "run.again=2", **faster)
    third = site.job()
    assert third not in (first, second)
    assert site.completed(third)["status"] == "released"


@pytest.mark.parametrize("major", [3, 4])
def test_uninstall_leaves_nothing_but_the_bucket(site: Site, major: int) -> None:
    site.add_photographs()
    site = replace(site, major=major)
    site.helm("install", "flowers", networkPolicy={"enabled": True})
    site.completed(site.job())
    site.uninstall("flowers")
    assert site.leftovers() == set()
    assert site.read("models/flowers/promoted.json")


def test_the_chart_works_as_a_dependency_of_another_chart(site: Site, tmp_path: Path) -> None:
    site.add_photographs()
    parent = tmp_path / "vision"
    parent.mkdir()
    dependency = {"name": "graft", "version": "*", "repository": f"file://{copied(tmp_path)}"}
    chart = {"apiVersion": "v2", "name": "vision", "version": "1.0.0", "dependencies": [dependency]}
    (parent / "Chart.yaml").write_text(yaml.safe_dump(chart))
    site.raw_helm("dependency", "update", str(parent))
    (parent / "values.yaml").write_text(
        json.dumps({"graft": site.values, "global": {"company": "example"}})
    )
    site.raw_helm("install", "eyes", str(parent))
    assert site.job().startswith("eyes-graft-")
    assert site.completed(site.job())["status"] == "released"

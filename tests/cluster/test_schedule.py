"""A schedule trains when there is something to learn, and only then."""

from typing import Any

import pytest

from tests.cluster.namespace import eventually
from tests.cluster.site import Site

pytestmark = [pytest.mark.cluster, pytest.mark.smoke]


def test_a_schedule_trains_once_then_finds_nothing_new_then_trains_on_new_images(
    site: Site,
) -> None:
    site.add_photographs(classes=5, number=25)
    site.helm("install", "flowers", launch="schedule", schedule={"cron": "* * * * *"})
    first = _next(site, 0)
    assert first["status"] == "released"
    night = _next(site, 1)
    assert (night["status"], sum(night["seconds"].values()) < 10) == ("unchanged", True)
    site.add_photographs(classes=5, first=25, number=40)
    again = next(
        result for number in (2, 3, 4) if (result := _next(site, number))["status"] != "unchanged"
    )
    assert again["status"] == "released"
    decision = site.read(f"models/flowers/releases/{again['run_id']}/manifest.json")["promotion"]
    assert decision["by"] == "comparison"
    assert decision["comparison"]["run_id"] == first["run_id"]
    assert decision["comparison"]["images"] >= 30


def _next(site: Site, number: int) -> Any:
    """The result of the run of that number."""
    eventually(lambda: len(site.jobs()) > number, 150)
    return site.completed(site.jobs()[number].metadata.name)

"""What Helm prints after an install: commands for this very run."""

import re
from pathlib import Path

import pytest

from tests.chart.rendering import Tree, copied, only, render

pytestmark = pytest.mark.chart

# `helm template` prints no notes: a copy of the chart puts them into an object.
PROBE = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: notes}
data: {notes: {{ tpl (.Files.Get "notes") . | toJson }}}
"""


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    chart = copied(tmp_path)
    (chart / "templates" / "NOTES.txt").rename(chart / "notes")
    (chart / "templates" / "notes.yaml").write_text(PROBE)
    return chart


def notes(chart: Path, values: Tree | None = None, major: int = 3) -> tuple[str, list[Tree]]:
    objects = render(values, chart=chart, major=major)
    return only(objects, "ConfigMap")["data"]["notes"], objects


@pytest.mark.parametrize("major", [3, 4])
def test_a_run_is_named_in_every_command(probe: Path, major: int) -> None:
    text, objects = notes(probe, major=major)
    name = only(objects, "Job")["metadata"]["name"]
    commands = [line for line in text.splitlines() if "kubectl" in line]
    assert len(commands) == 4
    assert all("kubectl --namespace vision " in line and name in line for line in commands)
    assert "port-forward job/" in text
    assert f"graft watch {name} --namespace vision" in text
    upgrade = "helm upgrade flowers <chart> --namespace vision --reset-then-reuse-values"
    assert f"{upgrade} --set-string run.again=" in text
    assert f"{upgrade} --set-string run.attempt=" in text
    assert "s3://models/flowers/releases/" in text
    assert "graft submit" not in text


@pytest.mark.parametrize("launch", ["schedule", "template"])
def test_a_schedule_and_a_template_say_how_a_run_is_started(probe: Path, launch: str) -> None:
    text, objects = notes(probe, {"launch": launch})
    name = only(objects, "CronJob")["metadata"]["name"]
    assert f"graft submit {name} --namespace vision" in text
    assert "job/<run>" in text
    assert "run.again" not in text
    assert ("--from=cronjob/" in text) is (launch == "template")


def test_a_schedule_says_when_and_whether_it_is_paused(probe: Path) -> None:
    assert "starts a run at 0 3 * * *, Etc/UTC" in notes(probe, {"launch": "schedule"})[0]
    assert "is paused" in notes(probe, {"launch": "schedule", "schedule": {"suspend": True}})[0]


def test_the_notes_follow_names_ports_and_policies(probe: Path) -> None:
    values = {
        "settings": {
            "name": "roses",
            "output": {"uri": "s3://models/all/"},
            "telemetry": {"port": 0},
        },
        "networkPolicy": {"enabled": True},
    }
    text, _ = notes(probe, values)
    assert "s3://models/all/roses/releases/" in text
    assert "port-forward" not in text
    assert "only where the cluster's network enforces it" in text


def test_shares_of_a_gpu_may_be_of_one_card(probe: Path) -> None:
    shares = {"gpus": {"count": 2, "resource": "nvidia.com/gpu.shared"}}
    assert "may be shares of one card" in notes(probe, shares)[0]
    assert "shares" not in notes(probe, {"gpus": {"count": 2}})[0]


def test_no_line_ends_in_blanks_and_none_is_left_open(probe: Path) -> None:
    text, _ = notes(probe)
    assert not re.search(r"[ \t]$", text, re.MULTILINE)
    assert "<no value>" not in text

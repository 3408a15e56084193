"""The alerts fire when they should, by Prometheus's own tool."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import promtool
from tools.paths import CHART

pytestmark = pytest.mark.chart

RULE = yaml.safe_load((CHART.parent / "manifests" / "alerts" / "prometheus-rule.yaml").read_text())
JOB, CRON = 'namespace="vision", job_name="flowers-1"', 'namespace="vision", cronjob="flowers"'
OURS = 'label_app_kubernetes_io_part_of="graft"'
FAILED = f'kube_job_failed{{{JOB}, condition="true"}}'
JOB_LABELS, CRON_LABELS = (
    f"kube_job_labels{{{JOB}, {OURS}}}",
    f"kube_cronjob_labels{{{CRON}, {OURS}}}",
)
SUSPENDED = f"kube_cronjob_spec_suspend{{{CRON}}}"
LAST, CREATED = (
    f"kube_cronjob_status_last_successful_time{{{CRON}}}",
    f"kube_cronjob_created{{{CRON}}}",
)
STRANGER = f'kube_job_labels{{{JOB}, label_app_kubernetes_io_part_of="another"}}'


def firing(folder: Path, alert: str, series: dict[str, str], at: str, *, expected: bool) -> None:
    """Fail unless the alert fires, or does not, at this time, with a value every ten minutes."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(RULE["spec"]))
    (rule,) = [rule for rule in RULE["spec"]["groups"][0]["rules"] if rule["alert"] == alert]
    probe: dict[str, Any] = {
        "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})',
        "eval_time": at,
        "exp_samples": [{"labels": "{}", "value": 1}] if expected else [],
    }
    test = {
        "interval": "10m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [probe],
    }
    whole = {"rule_files": ["rules.yaml"], "evaluation_interval": "10m", "tests": [test]}
    (folder / "test.yaml").write_text(json.dumps(whole))
    done = subprocess.run(
        [promtool.binary(), "test", "rules", "test.yaml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{rule['expr']}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize(
    ("series", "at", "expected"),
    [
        ({FAILED: "0x2 1x60", JOB_LABELS: "1x60"}, "40m", True),
        ({FAILED: "0x60", JOB_LABELS: "1x60"}, "40m", False),
        ({FAILED: "0x2 1x60", JOB_LABELS: "1x60"}, "3h", False),
        ({FAILED: "0x2 1x60", STRANGER: "1x60"}, "40m", False),
    ],
    ids=["failed", "well", "failed long ago", "not ours"],
)
def test_a_failed_run_is_told_for_an_hour(
    tmp_path: Path, series: dict[str, str], at: str, expected: bool
) -> None:
    firing(tmp_path, "GraftRunFailed", series, at, expected=expected)


@pytest.mark.parametrize(
    ("series", "at", "expected"),
    [
        (
            {CRON_LABELS: "1x400", SUSPENDED: "0x400", CREATED: "0x400", LAST: "3600x400"},
            "50h",
            True,
        ),
        (
            {CRON_LABELS: "1x400", SUSPENDED: "0x400", CREATED: "0x400", LAST: "3600x400"},
            "48h",
            False,
        ),
        (
            {
                CRON_LABELS: "1x400",
                SUSPENDED: "0x400",
                CREATED: "0x400",
                LAST: "3600x100 90000x300",
            },
            "50h",
            False,
        ),
        ({CRON_LABELS: "1x400", SUSPENDED: "0x400", CREATED: "0x400"}, "50h", True),
        ({CRON_LABELS: "1x400", SUSPENDED: "1x400", CREATED: "0x400"}, "50h", False),
    ],
    ids=["stale", "not yet", "fresh", "never well", "a template"],
)
def test_a_schedule_without_success_is_told(
    tmp_path: Path, series: dict[str, str], at: str, expected: bool
) -> None:
    firing(tmp_path, "GraftNoSuccess", series, at, expected=expected)


def test_the_runs_of_the_chart_carry_the_label_that_the_alerts_look_for() -> None:
    for launch in ("run", "schedule", "template"):
        for item in yaml.safe_load_all((CHART.parent / "manifests" / f"{launch}.yaml").read_text()):
            assert item["metadata"]["labels"]["app.kubernetes.io/part-of"] == "graft"
            if item["kind"] == "CronJob":
                labels = item["spec"]["jobTemplate"]["metadata"]["labels"]
                assert labels["app.kubernetes.io/part-of"] == "graft"

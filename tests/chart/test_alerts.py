"""The alerts fire when they should and else are silent, by Prometheus's own tool."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import Tree, only, render
from tools import promtool
from tools.paths import CHART, MANIFESTS, ROOT

pytestmark = pytest.mark.chart

DASHBOARD = json.loads((CHART / "dashboards" / "graft.json").read_text())
# The series of kube-state-metrics that the rules read, as its documentation names them.
CLUSTER_METRICS = {
    "kube_cronjob_created",
    "kube_cronjob_labels",
    "kube_cronjob_next_schedule_time",
    "kube_cronjob_spec_suspend",
    "kube_cronjob_status_active",
    "kube_cronjob_status_last_schedule_time",
    "kube_cronjob_status_last_successful_time",
    "kube_job_complete",
    "kube_job_failed",
    "kube_job_labels",
    "kube_job_status_ready",
}
JOB, CRON = 'namespace="vision", job_name="flowers-1"', 'namespace="vision", cronjob="flowers"'
PART = 'label_app_kubernetes_io_part_of="graft"'
OURS = f'{PART}, label_app_kubernetes_io_instance="flowers"'
FAILED = f'kube_job_failed{{{JOB}, condition="true"}}'
COMPLETE = f'kube_job_complete{{{JOB}, condition="true"}}'
READY = f"kube_job_status_ready{{{JOB}}}"
JOB_LABELS = f"kube_job_labels{{{JOB}, {OURS}}}"
STRANGER = f'kube_job_labels{{{JOB}, label_app_kubernetes_io_part_of="another"}}'
NEIGHBOUR = f'kube_job_labels{{{JOB}, {PART}, label_app_kubernetes_io_instance="roses"}}'
CRON_LABELS = f"kube_cronjob_labels{{{CRON}, {OURS}}}"
SUSPENDED = f"kube_cronjob_spec_suspend{{{CRON}}}"
ACTIVE = f"kube_cronjob_status_active{{{CRON}}}"
CREATED = f"kube_cronjob_created{{{CRON}}}"
SUCCEEDED = f"kube_cronjob_status_last_successful_time{{{CRON}}}"
SCHEDULED = f"kube_cronjob_status_last_schedule_time{{{CRON}}}"
NEXT = f"kube_cronjob_next_schedule_time{{{CRON}}}"
POD = 'namespace="vision", pod="flowers-1-abcde", instance="10.0.0.7:8000"'
RUN = f'{POD}, app_kubernetes_io_instance="flowers"'
UPDATED = f"graft_last_update_timestamp_seconds{{{RUN}}}"
RUNNING = f'graft_run_status{{{RUN}, status="running"}}'
BELOW = f'graft_run_status{{{RUN}, status="below_gate"}}'
PUSHED = 'graft_last_status{job="graft", model="flowers", status="below_gate"}'
HOUR, DAY, WEEK = 3_600, 86_400, 604_800


def rules(scope: str) -> Tree:
    """The rules of the chart, for its release `flowers` or for the whole cluster."""
    given = {"podMonitor": {"enabled": True}, "prometheusRule": {"enabled": True, "scope": scope}}
    spec: Tree = only(render(given), "PrometheusRule")["spec"]
    return spec


@pytest.fixture(scope="module", params=["release", "cluster"])
def spec(request: pytest.FixtureRequest) -> Tree:
    return rules(request.param)


def firing(folder: Path, spec: Tree, alert: str, series: dict[str, str], at: str) -> bool:
    """Whether the alert fires at this time, with a value every ten minutes."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(spec))
    (rule,) = [rule for rule in spec["groups"][0]["rules"] if rule["alert"] == alert]
    probe: dict[str, Any] = {
        "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})',
        "eval_time": at,
        "exp_samples": [{"labels": "{}", "value": 1}],
    }
    test = {
        "interval": "10m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [probe],
    }
    whole = {"rule_files": ["rules.yaml"], "evaluation_interval": "10m", "tests": [test]}
    (folder / "test.yaml").write_text(json.dumps(whole))
    command = [str(promtool.binary()), "test", "rules", "test.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    told = done.stdout + done.stderr
    assert done.returncode == 0 or "got:nil" in re.sub(r"\s", "", told), f"{rule}\n{told}"
    return done.returncode == 0


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
    tmp_path: Path, spec: Tree, series: dict[str, str], at: str, expected: bool
) -> None:
    assert firing(tmp_path, spec, "GraftRunFailed", series, at) is expected


@pytest.mark.parametrize(
    ("series", "at", "expected"),
    [
        ({READY: "0x60", JOB_LABELS: "1x60"}, "40m", True),
        ({READY: "0x60", JOB_LABELS: "1x60"}, "20m", False),
        ({READY: "0x1 1x60", JOB_LABELS: "1x60"}, "2h", False),
        ({READY: "0x60", COMPLETE: "1x60", JOB_LABELS: "1x60"}, "2h", False),
        ({READY: "0x60", FAILED: "1x60", JOB_LABELS: "1x60"}, "2h", False),
        ({READY: "1x6 0x60", JOB_LABELS: "1x60"}, "2h", True),
        ({READY: "0x60", STRANGER: "1x60"}, "2h", False),
    ],
    ids=["pending", "not yet", "runs", "complete", "failed", "lost its node", "not ours"],
)
def test_a_run_without_a_ready_pod_is_told(
    tmp_path: Path, spec: Tree, series: dict[str, str], at: str, expected: bool
) -> None:
    assert firing(tmp_path, spec, "GraftRunPending", series, at) is expected


@pytest.mark.parametrize(
    ("series", "at", "expected"),
    [
        ({UPDATED: "600x60", RUNNING: "1x60"}, "1h", True),
        ({UPDATED: "600x60", RUNNING: "1x60"}, "30m", False),
        ({UPDATED: "0+600x60", RUNNING: "1x60"}, "5h", False),
        ({UPDATED: "600x60", RUNNING: "1x2 0x60"}, "1h", False),
    ],
    ids=["stalled", "not yet", "reports", "has ended"],
)
def test_a_run_that_reports_nothing_is_told(
    tmp_path: Path, spec: Tree, series: dict[str, str], at: str, expected: bool
) -> None:
    assert firing(tmp_path, spec, "GraftRunStalled", series, at) is expected


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ({PUSHED: "0x2 1x60"}, True),
        ({PUSHED: "1x2 0x60"}, False),
        ({BELOW: "0x2 1x60"}, True),
        ({BELOW: "0x60"}, False),
    ],
    ids=["pushed", "promoted since", "scraped", "well"],
)
def test_a_model_below_the_gate_is_told(
    tmp_path: Path, spec: Tree, series: dict[str, str], expected: bool
) -> None:
    assert firing(tmp_path, spec, "GraftBelowGate", series, "1h") is expected


def schedule(period: int, **more: str) -> dict[str, str]:
    """A schedule that last started at 0 and starts again after a period."""
    return {
        CRON_LABELS: "1x2000",
        SUSPENDED: "0x2000",
        ACTIVE: "0x2000",
        CREATED: "0x2000",
        SCHEDULED: "0x2000",
        NEXT: f"{period}x2000",
    } | more


@pytest.mark.parametrize(
    ("series", "at", "expected"),
    [
        (schedule(DAY, **{SUCCEEDED: f"{HOUR}x2000"}), "26h", True),
        (schedule(DAY, **{SUCCEEDED: f"{HOUR}x2000"}), "24h", False),
        (schedule(WEEK, **{SUCCEEDED: f"{HOUR}x2000"}), "150h", False),
        (schedule(WEEK, **{SUCCEEDED: f"{HOUR}x2000"}), "170h", True),
        (schedule(DAY, **{SUCCEEDED: f"{HOUR}x2000", ACTIVE: "0x144 1x2000"}), "30h", False),
        (schedule(DAY), "26h", True),
        (schedule(DAY), "20h", False),
        (schedule(DAY, **{SUCCEEDED: f"{HOUR}x2000", SUSPENDED: "1x2000"}), "50h", False),
    ],
    ids=[
        "stale",
        "not yet",
        "a healthy week",
        "a missed week",
        "at work",
        "never well",
        "new",
        "a template",
    ],
)
def test_a_schedule_without_success_for_one_period_is_told(
    tmp_path: Path, spec: Tree, series: dict[str, str], at: str, expected: bool
) -> None:
    assert firing(tmp_path, spec, "GraftNoSuccess", series, at) is expected


def test_a_release_watches_its_own_runs_alone(tmp_path: Path) -> None:
    series = {FAILED: "0x2 1x60", NEIGHBOUR: "1x60"}
    assert firing(tmp_path, rules("cluster"), "GraftRunFailed", series, "40m")
    assert not firing(tmp_path, rules("release"), "GraftRunFailed", series, "40m")
    other = {PUSHED.replace("flowers", "roses"): "1x60"}
    assert firing(tmp_path, rules("cluster"), "GraftBelowGate", other, "40m")
    assert not firing(tmp_path, rules("release"), "GraftBelowGate", other, "40m")


def test_a_default_operator_and_a_default_grafana_select_what_watches_runs() -> None:
    given = {"podMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}
    objects = render(given | {"dashboard": {"enabled": True}})
    for kind in ("PodMonitor", "PrometheusRule"):
        assert only(objects, kind)["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    dashboard = only(objects, "ConfigMap")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(dashboard["data"]["graft.json"]) == DASHBOARD


def test_each_alert_has_a_section_in_the_runbook() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    headings = re.findall(r"^#+ (Graft\w+)$", page, re.MULTILINE)
    alerts = [rule["alert"] for rule in rules("cluster")["groups"][0]["rules"]]
    assert headings == alerts
    given = {
        "podMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True, "runbookUrl": "https://git.example.com/operations.md"},
    }
    for rule in only(render(given), "PrometheusRule")["spec"]["groups"][0]["rules"]:
        expected = f"https://git.example.com/operations.md#{rule['alert'].lower()}"
        assert rule["annotations"]["runbook_url"] == expected


def expressions() -> list[str]:
    """Every expression of the alerts and of the dashboard."""
    shown = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return shown + [rule["expr"] for rule in rules("cluster")["groups"][0]["rules"]]


def test_the_alerts_and_the_dashboard_read_metrics_that_exist() -> None:
    sources = [ROOT / "job" / "telemetry" / name for name in ("metrics.py", "push.py")]
    ours = set(re.findall(r'"(graft_\w+)"', "".join(path.read_text() for path in sources)))
    for expression in expressions():
        read = re.findall(r"\b(?:graft|kube|process)_[a-z_]+(?=[{\s\[)]|$)", expression)
        assert read
        for name in read:
            # Prometheus adds these endings to counters and histograms.
            known = name.removesuffix("_total").removesuffix("_bucket")
            assert known in ours or name in CLUSTER_METRICS or known.startswith("process_"), name


def test_every_expression_of_the_dashboard_is_understood_by_prometheus(tmp_path: Path) -> None:
    recorded = [
        {"record": f"panel:{number}", "expr": text.replace("$__rate_interval", "5m")}
        for number, text in enumerate(expressions())
    ]
    group = {"groups": [{"name": "dashboard", "rules": recorded}]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(group))
    command = [str(promtool.binary()), "check", "rules", "rules.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_runs_of_the_chart_carry_the_labels_that_the_alerts_look_for() -> None:
    for launch in ("run", "schedule", "template"):
        for item in yaml.safe_load_all((MANIFESTS / f"{launch}.yaml").read_text()):
            held = [item["metadata"]["labels"]]
            if item["kind"] == "CronJob":
                held.append(item["spec"]["jobTemplate"]["metadata"]["labels"])
            for labels in held:
                assert labels["app.kubernetes.io/part-of"] == "graft"
                assert labels["app.kubernetes.io/instance"] == "graft"

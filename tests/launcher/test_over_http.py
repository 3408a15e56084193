"""The launcher against recorded answers of an API server: errors, broken streams, the verbs."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from job import launcher
from job.__main__ import main
from job.errors import Interrupted, SettingsError
from job.launcher import answers
from job.launcher import cluster as cluster_room
from job.launcher.objects import Json
from job.launcher.snapshot import RunDeleted
from job.launcher.template import build_job
from job.launcher.watching import NotStarted
from job.workers import Terminated
from tests.launcher.conftest import (
    BATCH,
    CORE,
    EVENTS,
    JOB,
    JOBS,
    LOG,
    PODS,
    Recording,
    format_kubeconfig,
)
from tests.launcher.objects import (
    MISSPELT,
    RELEASED,
    RUN,
    disrupted,
    ended,
    event,
    job,
    pod,
    running,
    template,
    terminated,
    unschedulable,
    waiter,
)

COMPLETE = ended("Complete", "CompletionsReached")
LINE = "2026-01-02T03:04:0{}.000000000Z {}\n"
BEGINS = '{"message": "audit begins", "fields": {"phase": "audit", "event": "begins"}}'


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("job.launcher.watching.POLL_SECONDS", 1)
    monkeypatch.setattr("job.launcher.snapshot.PAUSE", 0.05)
    monkeypatch.setattr("job.launcher.reading.PAUSE", 0.05)
    monkeypatch.setattr("job.launcher.watching.PAUSE", 0.05)
    monkeypatch.setattr(cluster_room, "PAUSE", 0.05)


def finishes(recording: Recording, *pods: Json, **status: Any) -> None:
    """The run was at work, and is over at the second look."""
    recording.says(f"GET {JOB}", job())
    recording.says(f"GET {JOB}", job(**status))
    recording.lists(f"GET {PODS}", pod(**running()))
    recording.lists(f"GET {PODS}", *pods)
    recording.says(f"GET {LOG}", [LINE.format(1, BEGINS).encode()])
    recording.says(f"WATCH {JOBS}", {"type": "MODIFIED", "object": {}})


def log_lines(*numbers: int) -> list[bytes]:
    return [LINE.format(number, f"line {number}").encode() for number in numbers]


class TestErrors:
    def test_a_missing_right_is_named_with_verb_and_resource(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        message = (
            'jobs.batch is forbidden: User "me" cannot create resource "jobs" in API group "batch"'
        )
        recording.says(f"GET {BATCH}/cronjobs/graft", template())
        recording.refuses(f"POST {JOBS}", 403, message)
        with pytest.raises(answers.ClusterForbidden, match="cannot create resource") as refused:
            launcher.submit(cluster, "graft", {})
        assert "manifests/launcher-role.yaml" in refused.value.cure
        assert refused.value.exit_code == 2

    def test_a_missing_template_names_those_that_are_there(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        recording.refuses(f"GET {BATCH}/cronjobs/gaft", 404, 'cronjobs.batch "gaft" not found')
        recording.lists(f"GET {BATCH}/cronjobs", template(), template(name="birds"))
        with pytest.raises(
            answers.ClusterNotFound,
            match=r"No template gaft in the namespace graft.*: birds, graft",
        ):
            launcher.submit(cluster, "gaft", {})

    def test_a_missing_run_in_an_empty_namespace_says_that_it_is_empty(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        recording.refuses(f"GET {JOB}", 404, "not found")
        recording.lists(f"GET {JOBS}")
        with pytest.raises(answers.ClusterNotFound, match="there is no run at all"):
            launcher.watch(cluster, RUN, print)

    def test_a_refused_job_is_explained_in_the_clusters_words(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        recording.says(f"GET {BATCH}/cronjobs/graft", template())
        recording.refuses(
            f"POST {JOBS}", 422, 'Job.batch "graft" is invalid: spec.template: Invalid value'
        )
        with pytest.raises(SettingsError, match="Invalid value"):
            launcher.submit(cluster, "graft", {})

    def test_settings_that_cannot_work_reach_no_cluster(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        recording.says(f"GET {BATCH}/cronjobs/graft", template())
        with pytest.raises(SettingsError, match="GRAFT_TRAINING_EPOCH is unknown"):
            launcher.submit(cluster, "graft", {"GRAFT_TRAINING_EPOCH": "5"})
        assert recording.times(f"POST {JOBS}") == 0

    def test_a_server_that_is_busy_or_away_is_temporary(
        self, cluster: launcher.Cluster, recording: Recording, tmp_path: Path
    ) -> None:
        recording.says(f"GET {BATCH}/cronjobs/graft", [b"<html>Bad gateway"], 502)
        with pytest.raises(answers.ClusterUnavailable, match="Bad gateway"):
            launcher.submit(cluster, "graft", {})
        nowhere = tmp_path / "nowhere"
        nowhere.write_text(format_kubeconfig("http://127.0.0.1:1"))
        with pytest.raises(answers.ClusterUnavailable, match="Connection refused") as away:
            launcher.list_runs(launcher.connect(None, str(nowhere)))
        assert away.value.exit_code == 75

    def test_without_any_configuration_the_cure_is_named(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        with pytest.raises(SettingsError, match="Set KUBECONFIG"):
            launcher.connect(None, None)
        with pytest.raises(SettingsError, match="Set KUBECONFIG"):
            launcher.connect(None, str(tmp_path / "missing"))

    def test_the_namespace_is_the_contexts_unless_it_is_given(self, kubeconfig: Path) -> None:
        assert launcher.connect(None, str(kubeconfig)).namespace == "graft"
        assert launcher.connect("other", str(kubeconfig)).namespace == "other"


class TestWatch:
    def test_a_run_is_followed_through_its_phases_to_its_result(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        finishes(recording, pod(**terminated(0, RELEASED)), **COMPLETE)
        lines: list[str] = []
        result = launcher.watch(cluster, RUN, lines.append)
        assert result.release == "s3://models/flowers/releases/34701a43aed1c39a"
        assert lines == [
            f"pod {RUN}-abcde runs on node-1",
            "audit begins",
            f"pod {RUN}-abcde ended with exit code 0",
            f"{RUN} is complete",
        ]

    @pytest.mark.parametrize("expiry", ["as a status", "as an event", "in the middle"])
    def test_a_watch_that_expires_or_breaks_goes_on(
        self, cluster: launcher.Cluster, recording: Recording, expiry: str
    ) -> None:
        recording.lists(f"GET {EVENTS}")
        recording.says(f"GET {JOB}", job())
        recording.says(f"GET {JOB}", job(version="11"))
        recording.says(f"GET {JOB}", job(version="12"))
        recording.says(f"GET {JOB}", job(**COMPLETE))
        recording.lists(f"GET {PODS}", pod(**terminated(0, RELEASED)))
        recording.says(f"GET {LOG}", [b""])
        gone = {
            "kind": "Status",
            "code": 410,
            "reason": "Expired",
            "message": "too old resource version",
        }
        match expiry:
            case "as a status":
                recording.refuses(f"WATCH {JOBS}", 410, "too old resource version")
            case "as an event":
                recording.says(f"WATCH {JOBS}", {"type": "ERROR", "object": gone})
            case _:
                recording.says(f"WATCH {JOBS}", [b'{"type": "MODI'], broken=True)
        assert launcher.watch(cluster, RUN, lambda _: None).exit_code == 0
        assert recording.times(f"WATCH {JOBS}") == 3

    def test_a_server_that_restarts_is_waited_for(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        recording.lists(f"GET {EVENTS}")
        recording.says(f"GET {JOB}", job())
        recording.refuses(f"GET {JOB}", 503, "apiserver is shutting down")
        recording.refuses(f"GET {JOB}", 500, "etcdserver: leader changed")
        recording.says(f"GET {JOB}", job(**COMPLETE))
        recording.lists(f"GET {PODS}", pod(**terminated(0, RELEASED)))
        recording.says(f"GET {LOG}", [b""])
        recording.says(f"WATCH {JOBS}", {"type": "MODIFIED", "object": {}})
        assert launcher.watch(cluster, RUN, lambda _: None).exit_code == 0

    def test_a_right_that_is_lost_for_good_ends_the_watch(
        self, cluster: launcher.Cluster, recording: Recording, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("job.launcher.watching.PATIENCE", 0.2)
        recording.says(f"GET {JOB}", job())
        recording.lists(f"GET {PODS}", pod(**running()))
        recording.says(f"GET {LOG}", [b""])
        recording.refuses(f"WATCH {JOBS}", 403, 'cannot watch resource "jobs"')
        with pytest.raises(answers.ClusterForbidden, match="cannot watch"):
            launcher.watch(cluster, RUN, lambda _: None)

    def test_a_replaced_pod_and_its_reason_are_reported(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        recording.lists(f"GET {EVENTS}")
        recording.says(f"GET {JOB}", job())
        recording.says(f"GET {JOB}", job())
        recording.says(f"GET {JOB}", job(**COMPLETE))
        recording.lists(f"GET {PODS}", pod(f"{RUN}-first", **running()))
        recording.lists(
            f"GET {PODS}", pod(f"{RUN}-first", **disrupted("EvictionByEvictionAPI", "drained"))
        )
        recording.lists(f"GET {PODS}", pod(f"{RUN}-other", **terminated(0, RELEASED)))
        recording.says(f"WATCH {JOBS}", {"type": "MODIFIED", "object": {}})
        lines: list[str] = []
        launcher.watch(cluster, RUN, lines.append)
        assert lines == [
            f"pod {RUN}-first runs on node-1",
            f"pod {RUN}-first is gone: EvictionByEvictionAPI: drained.",
            f"pod {RUN}-other runs on node-1",
            f"pod {RUN}-other ended with exit code 0",
            f"pod {RUN}-first is gone: it was deleted, or lost with its node",
            f"{RUN} is complete",
        ]

    def test_a_replacement_that_cannot_be_made_is_explained(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        recording.says(f"GET {JOB}", job(failed=1))
        recording.says(f"GET {JOB}", job(**ended("Failed", "DeadlineExceeded", "too long")))
        recording.lists(f"GET {PODS}", pod(**disrupted("EvictionByEvictionAPI", "drained")))
        recording.lists(f"GET {EVENTS}", event("Job", RUN, "FailedCreate", "exceeded quota: gpus"))
        recording.says(f"GET {LOG}", [b""])
        recording.says(f"WATCH {JOBS}", {"type": "MODIFIED", "object": {}})
        lines: list[str] = []
        launcher.watch(cluster, RUN, lines.append, start_timeout=0)
        assert any(
            line.startswith("it waits: FailedCreate: exceeded quota: gpus.") for line in lines
        )
        assert recording.times(f"GET {LOG}") == 1

    def test_a_run_that_is_deleted_ends_the_watch(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        recording.says(f"GET {JOB}", job())
        recording.refuses(f"GET {JOB}", 404, "not found")
        recording.lists(f"GET {PODS}")
        recording.lists(f"GET {EVENTS}")
        recording.lists(f"GET {JOBS}")
        recording.says(f"WATCH {JOBS}", {"type": "DELETED", "object": {}})
        with pytest.raises(RunDeleted) as deleted:
            launcher.watch(cluster, RUN, lambda _: None)
        assert deleted.value.exit_code == 75

    @pytest.mark.parametrize("cancel", [False, True])
    def test_a_run_that_does_not_start_in_time_is_left_with_its_reason(
        self, cluster: launcher.Cluster, recording: Recording, cancel: bool
    ) -> None:
        recording.says(f"GET {JOB}", job())
        recording.lists(f"GET {PODS}", pod(**unschedulable("1 Insufficient nvidia.com/gpu.")))
        recording.lists(f"GET {EVENTS}")
        recording.says(f"WATCH {JOBS}", [])
        recording.says(f"DELETE {JOB}", {})
        lines: list[str] = []
        with pytest.raises(
            NotStarted, match=r"within 0\.2 s: Unschedulable: 1 Insufficient"
        ) as late:
            launcher.watch(cluster, RUN, lines.append, start_timeout=0.2, cancel=cancel)
        assert late.value.exit_code == 75
        assert recording.times(f"DELETE {JOB}") == cancel
        assert lines[0].startswith(
            "it waits: Unschedulable: 1 Insufficient nvidia.com/gpu. No node has so many free GPUs"
        )

    def test_a_run_at_work_is_not_late(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        finishes(recording, pod(**terminated(0, RELEASED)), **COMPLETE)
        assert launcher.watch(cluster, RUN, lambda _: None, start_timeout=0).exit_code == 0

    @pytest.mark.parametrize("cancel", [False, True])
    def test_a_stopped_wait_ends_the_run_only_with_cancel(
        self, cluster: launcher.Cluster, recording: Recording, cancel: bool
    ) -> None:
        recording.says(f"GET {JOB}", job())
        recording.lists(f"GET {PODS}")
        recording.lists(f"GET {EVENTS}")
        recording.says(f"DELETE {JOB}", {})

        def stopped(_: str) -> None:
            raise Terminated

        with pytest.raises(Interrupted, match="was cancelled" if cancel else "goes on"):
            launcher.watch(cluster, RUN, stopped, cancel=cancel)
        assert recording.times(f"DELETE {JOB}") == cancel


class TestLogs:
    def test_the_log_goes_on_from_pod_to_pod_and_each_line_comes_once(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        first, second = (
            pod(f"{RUN}-abcde", **running()),
            pod(f"{RUN}-vwxyz", **terminated(0, RELEASED)),
        )
        went = pod(f"{RUN}-abcde", **disrupted("EvictionByEvictionAPI", "drained"))
        recording.says(f"GET {JOB}", job())
        recording.lists(f"GET {PODS}")
        recording.lists(f"GET {PODS}", first)
        recording.lists(f"GET {PODS}", first)
        recording.lists(f"GET {PODS}", went)
        recording.lists(f"GET {PODS}", went, second)
        recording.lists(f"GET {EVENTS}")
        recording.says(f"WATCH {JOBS}", [])
        recording.says(f"GET {LOG}", log_lines(1, 2), broken=True)
        recording.says(f"GET {LOG}", log_lines(2, 3))
        recording.says(f"GET {LOG}", log_lines(3, 4))
        recording.says(f"GET {CORE}/pods/{RUN}-vwxyz/log", log_lines(1, 5))
        lines = []
        for line in launcher.follow_logs(cluster, RUN):
            lines.append(line)
            if line == "line 5":
                recording.answers["GET", JOB] = []
                recording.says(f"GET {JOB}", job(**COMPLETE))
        assert lines == ["line 1", "line 2", "line 3", "line 4", "line 1", "line 5"]

    def test_a_pod_whose_log_is_gone_does_not_stop_the_others(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        recording.says(f"GET {JOB}", job(**COMPLETE))
        recording.lists(f"GET {PODS}", pod(**terminated(1)), pod(f"{RUN}-vwxyz", **terminated(0)))
        recording.refuses(f"GET {LOG}", 404, "pods not found")
        recording.says(f"GET {CORE}/pods/{RUN}-vwxyz/log", log_lines(7))
        assert list(launcher.follow_logs(cluster, RUN)) == ["line 7"]

    def test_a_log_that_never_opens_is_given_up(
        self, cluster: launcher.Cluster, recording: Recording, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("job.launcher.reading.TRIES", 3)
        recording.says(f"GET {JOB}", job(**COMPLETE))
        recording.lists(f"GET {PODS}", pod(**terminated(1)))
        recording.refuses(f"GET {LOG}", 500, "container not found")
        assert list(launcher.follow_logs(cluster, RUN)) == []
        assert recording.times(f"GET {LOG}") == 3

    def test_a_log_that_may_not_be_read_says_so(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        recording.says(f"GET {JOB}", job())
        recording.lists(f"GET {PODS}", pod(**running()))
        recording.refuses(f"GET {LOG}", 403, 'cannot get resource "pods/log"')
        with pytest.raises(answers.ClusterForbidden, match="pods/log"):
            list(launcher.follow_logs(cluster, RUN))


class TestVerbs:
    @pytest.mark.usefixtures("kubeconfig")
    def test_submit_prints_the_name_of_the_run_alone(
        self, recording: Recording, capsys: pytest.CaptureFixture[str]
    ) -> None:
        recording.says(f"GET {BATCH}/cronjobs/graft", template())
        recording.says(f"POST {JOBS}", job(), 201)
        assert main(["submit", "graft", "--set", "GRAFT_SEED=7"]) == 0
        assert capsys.readouterr().out.startswith("graft-")

    @pytest.mark.usefixtures("kubeconfig")
    def test_submit_and_wait_ends_as_the_run_does(
        self,
        recording: Recording,
        capsys: pytest.CaptureFixture[str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        name = build_job(template(), {}, "uid")["metadata"]["name"]
        recording.says(f"GET {BATCH}/cronjobs/graft", template())
        recording.refuses(f"POST {JOBS}", 409, "already exists", "AlreadyExists")
        recording.says(f"GET {BATCH}/jobs/{name}", job(name, **ended("Failed", "PodFailurePolicy")))
        recording.lists(f"GET {PODS}", pod(run=name, **terminated(2, MISSPELT)))
        recording.says(f"GET {LOG}", [b""])
        monkeypatch.setenv("GRAFT_RESULT_PATH", str(tmp_path / "result.json"))
        assert main(["submit", "graft", "--key", "uid", "--wait"]) == 2
        out, err = capsys.readouterr()
        assert (
            json.loads(out)
            == json.loads(MISSPELT)
            == json.loads((tmp_path / "result.json").read_text())
        )
        assert f"{name} was there already" in err

    @pytest.mark.usefixtures("kubeconfig")
    def test_an_attached_run_says_which_settings_it_keeps(
        self, recording: Recording, capsys: pytest.CaptureFixture[str]
    ) -> None:
        name = build_job(template(), {}, "uid")["metadata"]["name"]
        recording.says(f"GET {BATCH}/cronjobs/graft", template())
        recording.refuses(f"POST {JOBS}", 409, "already exists", "AlreadyExists")
        recording.says(f"GET {BATCH}/jobs/{name}", job(name))
        assert main(["submit", "graft", "--key", "uid", "--set", "GRAFT_SEED=7"]) == 0
        assert "it keeps its own GRAFT_SEED" in capsys.readouterr().err

    @pytest.mark.usefixtures("kubeconfig")
    def test_settings_that_cannot_work_give_a_result_too(
        self, recording: Recording, capsys: pytest.CaptureFixture[str]
    ) -> None:
        recording.says(f"GET {BATCH}/cronjobs/graft", template())
        assert main(["submit", "graft", "--set", "GRAFT_SEED=x", "--wait"]) == 2
        assert json.loads(capsys.readouterr().out)["error"]["kind"] == "settings"

    @pytest.mark.parametrize("options", [["--cancel-on-exit"], ["--start-timeout", "0"]])
    def test_an_option_of_a_wait_is_refused_without_one(
        self, options: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["submit", "graft", *options]) == 2
        assert "Add --wait." in capsys.readouterr().err

    @pytest.mark.parametrize("text", ["EPOCHS=5", "GRAFT_SEED"])
    def test_an_argument_that_is_not_a_setting_is_refused(
        self, text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit):
            main(["submit", "graft", "--set", text])
        assert "expected GRAFT_…" in capsys.readouterr().err

    @pytest.mark.usefixtures("kubeconfig")
    def test_watch_ends_as_the_run_does(
        self, recording: Recording, capsys: pytest.CaptureFixture[str]
    ) -> None:
        finishes(
            recording,
            pod(**terminated(3, MISSPELT)),
            **ended("Failed", "PodFailurePolicy", "exit code 3"),
        )
        assert main(["watch", RUN]) == 3
        out = capsys.readouterr().out
        assert f"{RUN} is failed: PodFailurePolicy: exit code 3." in out
        assert "Correct it." in out

    @pytest.mark.usefixtures("kubeconfig")
    def test_logs_prints_lines(
        self, recording: Recording, capsys: pytest.CaptureFixture[str]
    ) -> None:
        recording.says(f"GET {JOB}", job(**COMPLETE))
        recording.lists(f"GET {PODS}", pod(**terminated(0)))
        recording.says(f"GET {LOG}", log_lines(1, 2))
        assert main(["logs", RUN]) == 0
        assert capsys.readouterr().out == "line 1\nline 2\n"

    @pytest.mark.usefixtures("kubeconfig")
    def test_runs_shows_what_is_known_of_each(
        self, recording: Recording, capsys: pytest.CaptureFixture[str]
    ) -> None:
        queued, failed = job("queued"), job("failed", **ended("Failed", "BackoffLimitExceeded"))
        queued["spec"]["suspend"] = True
        recording.lists(
            f"GET {JOBS}", job("done", **COMPLETE), job("going"), job("new"), queued, failed
        )
        recording.lists(
            f"GET {PODS}",
            pod("a", run="done", index=0, **terminated(0, RELEASED)),
            pod("b", run="done", index=1, **terminated(0, MISSPELT)),
            pod("c", run="going", **running()),
            pod("d", run="failed", **terminated(137, reason="OOMKilled")),
        )
        assert main(["runs"]) == 0
        header, *rows = capsys.readouterr().out.splitlines()
        assert header.split() == ["RUN", "STATUS", "PLAN", "ACCURACY", "AGE", "RELEASE"]
        shown = {row.split()[0]: row.split(None, 1)[1] for row in rows}
        assert shown["done"].split()[:3] == ["released", "none", "0.9118"]
        assert shown["done"].endswith("s3://models/flowers/releases/34701a43aed1c39a")
        assert [shown[name].split("  ")[0] for name in ("going", "new", "queued", "failed")] == [
            "running",
            "pending",
            "pending (Suspended)",
            "failed (oomkilled)",
        ]

    def test_sigterm_ends_the_wait_with_75_and_leaves_the_run_alone(
        self, kubeconfig: Path, recording: Recording
    ) -> None:
        name = build_job(template(), {}, "uid")["metadata"]["name"]
        recording.says(f"GET {BATCH}/cronjobs/graft", template())
        recording.says(f"POST {JOBS}", job(name), 201)
        recording.says(f"GET {BATCH}/jobs/{name}", job(name))
        recording.lists(f"GET {PODS}")
        recording.lists(f"GET {EVENTS}", event("Job", name, "FailedCreate", "exceeded quota"))
        recording.says(f"WATCH {JOBS}", [])
        process = waiter(kubeconfig, "--key", "uid")
        assert process.stderr
        while "FailedCreate: exceeded quota" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
        assert process.returncode == 75, err
        assert json.loads(out)["status"] == "interrupted"
        assert (
            json.loads(out)["error"]["message"] == f"The wait was stopped; the run {name} goes on."
        )
        assert recording.times(f"DELETE {BATCH}/jobs/{name}") == 0

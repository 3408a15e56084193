"""The launcher where a cluster, a kubeconfig or a caller is not as it should be, over HTTP."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from job import launcher
from job.__main__ import main
from job.errors import SettingsError
from job.launcher import answers, submission
from job.launcher.objects import Json
from job.launcher.snapshot import RunDeleted
from job.launcher.template import build_job
from job.launcher.watching import NotStarted
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
    ended,
    job,
    pod,
    running,
    template,
    terminated,
    unschedulable,
    waiter,
)
from tools.paths import MANIFESTS

COMPLETE = ended("Complete", "CompletionsReached")
EXHAUSTED = ended("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
AWAY = MISSPELT.replace('"failed"', '"interrupted"').replace('"settings"', '"storeunavailable"')
CHANGED = {"type": "MODIFIED", "object": {}}
NAME = build_job(template(), {}, "uid")["metadata"]["name"]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("job.launcher.watching.POLL_SECONDS", 1)
    for module in ("cluster", "reading", "snapshot", "watching"):
        monkeypatch.setattr(f"job.launcher.{module}.PAUSE", 0.02)


def stamped(second: int, text: str, offset: str = "Z") -> bytes:
    return f"2026-10-25T02:59:{second:02}.000000000{offset} {text}\n".encode()


class TestSubmission:
    """Quotas, admission rules and keys."""

    def test_a_race_for_a_quota_is_tried_again(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        race = (
            'Operation cannot be fulfilled on resourcequotas "jobs": the object has been modified'
        )
        recording.says(f"GET {BATCH}/cronjobs/graft", template())
        recording.refuses(f"POST {JOBS}", 409, race, "Conflict")
        recording.refuses(f"POST {JOBS}", 409, race, "Conflict")
        recording.says(f"POST {JOBS}", job(), 201)
        submitted = launcher.submit(cluster, "graft", {}, "uid")
        assert (submitted.name, submitted.attached) == (NAME, False)
        assert recording.times(f"POST {JOBS}") == 3

    def test_a_race_without_end_is_temporary(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        recording.says(f"GET {BATCH}/cronjobs/graft", template())
        recording.refuses(f"POST {JOBS}", 409, "Operation cannot be fulfilled", "Conflict")
        with pytest.raises(answers.ClusterConflict) as lost:
            launcher.submit(cluster, "graft", {})
        assert lost.value.exit_code == 75

    @pytest.mark.parametrize(
        ("words", "code", "cure"),
        [
            ("is forbidden: exceeded quota: jobs, requested: count/jobs.batch=1", 75, "other runs"),
            ("is forbidden: status unknown for quota: jobs, resources: pods", 75, "Try again"),
            ('admission webhook "policy.example" denied the request: no owner', 2, "that rule"),
            ("is forbidden: ValidatingAdmissionPolicy 'a' denied request: no", 2, "that rule"),
            ("is forbidden: unable to create new content in namespace graft", 2, "that rule"),
            ('is forbidden: User "me" cannot create resource "jobs"', 2, "launcher-role.yaml"),
        ],
    )
    def test_a_refusal_is_told_as_what_it_is(
        self, cluster: launcher.Cluster, recording: Recording, words: str, code: int, cure: str
    ) -> None:
        recording.says(f"GET {BATCH}/cronjobs/graft", template())
        message = f'jobs.batch "graft-1" {words}'
        recording.refuses(f"POST {JOBS}", 403, message, "Forbidden")
        with pytest.raises((SettingsError, answers.ClusterQuotaExceeded)) as refused:
            launcher.submit(cluster, "graft", {})
        assert refused.value.exit_code == code
        assert cure in refused.value.cure
        assert message in refused.value.message

    @pytest.mark.parametrize("key", ["", "  "])
    def test_an_empty_key_is_refused_before_anything_is_asked(
        self, cluster: launcher.Cluster, recording: Recording, key: str
    ) -> None:
        with pytest.raises(SettingsError, match="The key is empty"):
            launcher.submit(cluster, "graft", {}, key)
        assert recording.asked == []

    @pytest.mark.usefixtures("kubeconfig")
    def test_a_run_that_failed_with_75_goes_on_under_its_key(
        self, recording: Recording, capsys: pytest.CaptureFixture[str]
    ) -> None:
        second = build_job(template(), {}, submission._name_attempt("uid", 2))["metadata"]["name"]
        recording.says(f"GET {BATCH}/cronjobs/graft", template())
        recording.refuses(f"POST {JOBS}", 409, "already exists", "AlreadyExists")
        recording.says(f"POST {JOBS}", job(second), 201)
        recording.says(f"GET {BATCH}/jobs/{NAME}", job(NAME, **EXHAUSTED))
        recording.lists(f"GET {PODS}", pod(run=NAME, **terminated(75, AWAY)))
        assert main(["submit", "graft", "--key", "uid"]) == 0
        out, err = capsys.readouterr()
        assert out == f"{second}\n"
        assert second != NAME
        assert f"it goes on from the checkpoint of {NAME}, which has failed" in err

    @pytest.mark.parametrize(
        ("code", "text", "status"),
        [
            (0, RELEASED, COMPLETE),
            (2, MISSPELT, ended("Failed", "PodFailurePolicy")),
            (137, "", EXHAUSTED),
        ],
    )
    def test_an_end_that_no_retry_helps_is_the_end_of_its_key(
        self,
        cluster: launcher.Cluster,
        recording: Recording,
        code: int,
        text: str,
        status: Json,
    ) -> None:
        recording.says(f"GET {BATCH}/cronjobs/graft", template())
        recording.refuses(f"POST {JOBS}", 409, "already exists", "AlreadyExists")
        recording.says(f"GET {BATCH}/jobs/{NAME}", job(NAME, **status))
        recording.lists(f"GET {PODS}", pod(run=NAME, **terminated(code, text)))
        submitted = launcher.submit(cluster, "graft", {}, "uid")
        assert (submitted.name, submitted.attached, submitted.ended) == (NAME, True, True)

    def test_a_final_end_stays_final_after_its_pod_is_gone(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        recording.says(f"GET {BATCH}/cronjobs/graft", template())
        recording.refuses(f"POST {JOBS}", 409, "already exists", "AlreadyExists")
        words = "Container graft for pod graft/x failed with exit code 3 matching FailJob rule"
        status = ended("Failed", "PodFailurePolicy", f"{words} at index 1")
        recording.says(f"GET {BATCH}/jobs/{NAME}", job(NAME, **status))
        recording.lists(f"GET {PODS}")
        assert launcher.submit(cluster, "graft", {}, "uid").attached
        assert launcher.watch(cluster, NAME, lambda _: None).exit_code == 3

    def test_an_ended_job_stays_long_enough_to_be_read(self) -> None:
        cron_job = template()
        cron_job["spec"]["jobTemplate"]["spec"]["ttlSecondsAfterFinished"] = 0
        assert build_job(cron_job, {}, "uid")["spec"]["ttlSecondsAfterFinished"] == 600


class TestPatience:
    """An API server that has just restarted refuses everybody for a moment."""

    @pytest.mark.parametrize(
        ("request_line", "status"),
        [(f"WATCH {JOBS}", 403), (f"GET {LOG}", 403), (f"GET {JOB}", 401)],
    )
    def test_one_refusal_is_no_end_of_a_wait(
        self, cluster: launcher.Cluster, recording: Recording, request_line: str, status: int
    ) -> None:
        recording.says(f"GET {BATCH}/cronjobs/graft", template())
        recording.says(f"POST {JOBS}", job(), 201)
        launcher.submit(cluster, "graft", {})
        # A second answer follows each 401 at once, with credentials that were read again.
        for _ in range(2 if status == 401 else 1):
            recording.refuses(request_line, status, "forbidden for a moment")
        recording.says(f"GET {JOB}", job())
        recording.says(f"GET {JOB}", job(**COMPLETE))
        recording.lists(f"GET {PODS}", pod(**running()))
        recording.lists(f"GET {PODS}", pod(**terminated(0, RELEASED)))
        recording.says(f"GET {LOG}", [b""])
        recording.says(f"WATCH {JOBS}", CHANGED)
        result = launcher.watch(cluster, RUN, lambda _: None, cancel=True)
        assert result.release == "s3://models/flowers/releases/34701a43aed1c39a"
        assert recording.times(f"DELETE {JOB}") == 0

    def test_a_log_that_is_refused_once_is_printed_all_the_same(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        recording.says(f"GET {JOB}", job(**COMPLETE))
        recording.lists(f"GET {PODS}", pod(**terminated(0, RELEASED)))
        recording.refuses(f"GET {LOG}", 403, "forbidden for a moment")
        recording.says(f"GET {LOG}", [stamped(1, "line 1")])
        assert list(launcher.follow_logs(cluster, RUN)) == ["line 1"]

    def test_whatever_ends_the_wait_cancels_the_run(
        self, cluster: launcher.Cluster, recording: Recording, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("job.launcher.snapshot.PATIENCE", 0.1)
        recording.says(f"GET {JOB}", job())
        recording.refuses(f"GET {JOB}", 403, 'User "me" cannot get resource "jobs"')
        recording.lists(f"GET {PODS}", pod(**running()))
        recording.says(f"GET {LOG}", [b""])
        recording.says(f"WATCH {JOBS}", CHANGED)
        recording.says(f"DELETE {JOB}", {})
        with pytest.raises(answers.ClusterForbidden, match="was cancelled"):
            launcher.watch(cluster, RUN, lambda _: None, cancel=True)
        assert recording.times(f"DELETE {JOB}") == 1

    def test_a_cancellation_outlasts_an_api_server_that_is_away(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        recording.says(f"GET {JOB}", job())
        recording.lists(f"GET {PODS}", pod(**unschedulable("no node")))
        recording.lists(f"GET {EVENTS}")
        recording.refuses(f"DELETE {JOB}", 503, "apiserver is shutting down")
        recording.says(f"DELETE {JOB}", {})
        with pytest.raises(NotStarted, match="was cancelled"):
            launcher.watch(cluster, RUN, lambda _: None, start_timeout=0, cancel=True)

    def test_a_run_that_cannot_be_cancelled_is_said_to_go_on(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        recording.says(f"GET {JOB}", job())
        recording.lists(f"GET {PODS}", pod(**unschedulable("no node")))
        recording.lists(f"GET {EVENTS}")
        recording.refuses(f"DELETE {JOB}", 403, 'User "me" cannot delete resource "jobs"')
        with pytest.raises(NotStarted, match=r"goes on, because .* cannot delete") as late:
            launcher.watch(cluster, RUN, lambda _: None, start_timeout=0, cancel=True)
        assert f"kubectl delete job {RUN}" in late.value.cure

    def test_a_run_at_work_is_looked_at_less_often(
        self, cluster: launcher.Cluster, recording: Recording, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[int] = []
        await_change = launcher.Cluster.await_change

        def note(self: launcher.Cluster, of: Any, seconds: int) -> None:
            asked.append(seconds)
            await_change(self, of, seconds)

        monkeypatch.setattr(launcher.Cluster, "await_change", note)
        recording.says(f"GET {JOB}", job())
        recording.says(f"GET {JOB}", job())
        recording.says(f"GET {JOB}", job(**COMPLETE))
        recording.lists(f"GET {PODS}", pod(**unschedulable("no node")))
        recording.lists(f"GET {PODS}", pod(**running()))
        recording.lists(f"GET {PODS}", pod(**terminated(0, RELEASED)))
        recording.lists(f"GET {EVENTS}")
        recording.says(f"GET {LOG}", [b""])
        recording.says(f"WATCH {JOBS}", CHANGED)
        launcher.watch(cluster, RUN, lambda _: None)
        assert asked == [1, 15]


class TestLog:
    """What a kubelet writes between the lines of a log."""

    def test_a_line_without_a_stamp_silences_nothing(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        words = b"failed to create fsnotify watcher: too many open files\n"
        recording.says(f"GET {JOB}", job(**COMPLETE))
        recording.lists(f"GET {PODS}", pod(**running()))
        recording.lists(f"GET {PODS}", pod(**running()))
        recording.lists(f"GET {PODS}", pod(**terminated(0, RELEASED)))
        first, second, third = (stamped(number, f"line {number}") for number in (1, 2, 3))
        recording.says(f"GET {LOG}", [first, second, words])
        recording.says(f"GET {LOG}", [second, third, words, stamped(4, "line 4")])
        assert list(launcher.follow_logs(cluster, RUN)) == [
            "line 1",
            "line 2",
            words.decode().strip(),
            "line 3",
            "line 4",
        ]

    def test_the_end_of_summer_time_silences_nothing(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        """A node's clock goes back by an hour, and its stamps are in its own time."""
        recording.says(f"GET {JOB}", job(**COMPLETE))
        recording.lists(f"GET {PODS}", pod(**running()))
        recording.lists(f"GET {PODS}", pod(**running()))
        recording.lists(f"GET {PODS}", pod(**terminated(0, RELEASED)))
        recording.says(f"GET {LOG}", [stamped(59, "summer", "+02:00")])
        winter = stamped(0, "winter", "+01:00").replace(b"02:59", b"02:00")
        recording.says(f"GET {LOG}", [stamped(59, "summer", "+02:00"), winter])
        assert list(launcher.follow_logs(cluster, RUN)) == ["summer", "winter"]


class TestSameName:
    """A run that was cancelled and submitted again has the name of the first one."""

    def test_a_pod_of_the_earlier_job_is_not_the_runs(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        old = pod(f"{RUN}-older", owner="the earlier Job", **running())
        recording.says(f"GET {JOB}", job())
        recording.lists(f"GET {PODS}", old, pod(**unschedulable("no node is free")))
        recording.lists(f"GET {EVENTS}")
        recording.says(f"WATCH {JOBS}", [])
        with pytest.raises(NotStarted, match="no node is free"):
            launcher.watch(cluster, RUN, lambda _: None, start_timeout=0.1)

    def test_its_log_and_its_result_are_not_the_runs_either(
        self, cluster: launcher.Cluster, recording: Recording
    ) -> None:
        old = pod(f"{RUN}-older", owner="the earlier Job", **terminated(2, MISSPELT))
        recording.says(f"GET {JOB}", job(**COMPLETE))
        recording.lists(f"GET {JOBS}", job(**COMPLETE))
        recording.lists(f"GET {PODS}", pod(**terminated(0, RELEASED)), old)
        recording.says(f"GET {CORE}/pods/{RUN}-older/log", [stamped(1, "of the earlier one")])
        recording.says(f"GET {LOG}", [stamped(2, "of this one")])
        assert list(launcher.follow_logs(cluster, RUN)) == ["of this one"]
        (listed,) = launcher.list_runs(cluster)
        assert listed.release == "s3://models/flowers/releases/34701a43aed1c39a"


class TestKubeconfig:
    def test_a_token_that_was_replaced_is_read_again(
        self, kubeconfig: Path, recording: Recording, tmp_path: Path
    ) -> None:
        token = tmp_path / "token"
        token.write_text("first")
        config = json.loads(kubeconfig.read_text())
        config["users"][0]["user"] = {"tokenFile": str(token)}
        kubeconfig.write_text(json.dumps(config))
        recording.token = "second"
        recording.lists(f"GET {JOBS}")
        recording.lists(f"GET {PODS}")
        cluster = launcher.connect(None, str(kubeconfig))
        with pytest.raises(answers.ClusterForbidden):
            launcher.list_runs(cluster)
        token.write_text("second")
        assert launcher.list_runs(cluster) == ()

    @pytest.mark.parametrize(
        ("page", "error"),
        [
            (b"<html>Log in", answers.ClusterForbidden),
            (b'{"items": [', answers.ClusterUnavailable),
        ],
    )
    def test_an_answer_that_is_not_json_is_told_as_that(
        self,
        cluster: launcher.Cluster,
        recording: Recording,
        page: bytes,
        error: type[Exception],
    ) -> None:
        recording.says(f"GET {PODS}", [page])
        with pytest.raises(error, match="expected JSON, received"):
            launcher.list_runs(cluster)

    @pytest.mark.parametrize(
        "text",
        ["", "[]", "x", "contexts: [", "contexts: 5", "current-context: it\ncontexts: [{}]"],
    )
    def test_a_file_of_another_shape_is_a_settings_error(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "kubeconfig"
        path.write_text(text)
        with pytest.raises(SettingsError, match="No cluster is configured") as error:
            launcher.connect(None, str(path))
        assert str(path) in error.value.cure

    def test_without_a_home_the_cure_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("HOME", "KUBERNETES_SERVICE_HOST"):
            monkeypatch.delenv(name, raising=False)
        # A user that the system does not know, as in a container with a number for a user.
        monkeypatch.setattr("os.getuid", lambda: 4_000_000)
        with pytest.raises(SettingsError, match="No cluster is configured: Service host"):
            launcher.connect(None, None)

    def test_a_missing_program_for_credentials_is_named(self, tmp_path: Path) -> None:
        config = json.loads(format_kubeconfig("http://127.0.0.1:1"))
        plugin = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "no-such-login",
            "installHint": "Install no-such-login from your team's page.",
            "interactiveMode": "Never",
        }
        config["users"][0]["user"] = {"exec": plugin}
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(config))
        with pytest.raises(SettingsError, match=r"'no-such-login' .* no such program") as error:
            launcher.connect(None, str(path))
        assert "your team's page" in error.value.cure


class TestSignals:
    """Each verb as a process of its own."""

    def test_a_stop_right_after_the_job_was_made_cancels_it(
        self, kubeconfig: Path, recording: Recording
    ) -> None:
        recording.says(f"GET {BATCH}/cronjobs/graft", template())
        recording.says(f"POST {JOBS}", job(NAME), 201)
        recording.says(f"DELETE {BATCH}/jobs/{NAME}", {})
        recording.hold(f"POST {JOBS}")
        process = waiter(kubeconfig, "--key", "uid", "--cancel-on-exit")
        recording.arrived.wait(30)
        process.send_signal(signal.SIGTERM)
        # The supervisor hands the signal on, and the answer comes after that.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        recording.release.set()
        out, err = process.communicate(timeout=20)
        assert process.returncode == 75, err
        assert "was cancelled" in json.loads(out)["error"]["message"]
        assert recording.times(f"DELETE {BATCH}/jobs/{NAME}") == 1

    @pytest.mark.parametrize(
        ("verb", "number"),
        [("watch", signal.SIGTERM), ("logs", signal.SIGTERM), ("logs", signal.SIGINT)],
    )
    def test_watch_and_logs_end_with_75_and_one_sentence(
        self, kubeconfig: Path, recording: Recording, verb: str, number: signal.Signals
    ) -> None:
        recording.says(f"GET {JOB}", job())
        recording.lists(f"GET {PODS}", pod(**running()))
        recording.says(f"GET {LOG}", [stamped(1, "line 1")])
        recording.says(f"WATCH {JOBS}", [])
        process = subprocess.Popen(
            [sys.executable, "-m", "job", verb, RUN],
            env={**os.environ, "KUBECONFIG": str(kubeconfig)},
            cwd=MANIFESTS.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        process.stdout.readline()
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 75
        assert "Traceback" not in err
        assert len(json.loads(err.splitlines()[-1])["message"].splitlines()) <= 2


def test_a_deadline_is_told_as_one(cluster: launcher.Cluster, recording: Recording) -> None:
    stopped = MISSPELT.replace('"failed"', '"interrupted"', 1).replace(
        '"run_id": null', '"run_id": "34701a43aed1c39a"'
    )
    late = ended("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    recording.says(f"GET {JOB}", job(**late))
    recording.lists(f"GET {PODS}", pod(**terminated(75, stopped)))
    recording.says(f"GET {LOG}", [b""])
    result = launcher.watch(cluster, RUN, lambda _: None)
    assert result.error
    assert (result.status, result.error.kind, result.exit_code) == (
        "interrupted",
        "deadlineexceeded",
        75,
    )
    assert result.run_id == "34701a43aed1c39a"
    assert "job.activeDeadlineSeconds" in result.error.cure


def test_a_run_that_goes_between_its_creation_and_the_watch_was_deleted(
    cluster: launcher.Cluster, recording: Recording
) -> None:
    recording.says(f"GET {BATCH}/cronjobs/graft", template())
    recording.refuses(f"POST {JOBS}", 409, "already exists", "AlreadyExists")
    recording.refuses(f"GET {BATCH}/jobs/{NAME}", 404, "not found")
    recording.lists(f"GET {JOBS}")
    with pytest.raises(answers.ClusterConflict) as gone:
        launcher.submit(cluster, "graft", {}, "uid")
    assert gone.value.exit_code == RunDeleted.exit_code == 75

"""Runs in a cluster from Python: `job.submit`, `job.watch`, `job.runs`, over HTTP."""

import pytest

import job
from job.errors import SettingsError
from job.launcher.template import build_job
from tests.launcher.conftest import BATCH, CORE, Recording
from tests.launcher.objects import MISSPELT, RELEASED, RUN, ended, pod, template, terminated
from tests.launcher.objects import job as job_object

JOBS, PODS = f"{BATCH}/jobs", f"{CORE}/pods"
NAME = build_job(template(), {}, "experiment 7")["metadata"]["name"]

pytestmark = pytest.mark.usefixtures("kubeconfig")


def test_a_run_is_submitted_with_settings_by_name_and_followed_to_its_result(
    recording: Recording, capsys: pytest.CaptureFixture[str]
) -> None:
    recording.says(f"GET {BATCH}/cronjobs/graft", template())
    recording.says(f"POST {JOBS}", job_object(NAME), 201)
    run = job.submit("graft", key="experiment 7", seed=7, training={"epochs": 5})
    assert (run.name, run.attached) == (NAME, False)

    recording.says(f"GET {JOBS}/{NAME}", job_object(NAME, **ended("Complete")))
    recording.lists(f"GET {PODS}", pod(run=NAME, **terminated(0, RELEASED)))
    recording.says(f"GET {PODS}/{RUN}-abcde/log", [b""])
    result = job.watch(run)
    assert result.release == "s3://models/flowers/releases/34701a43aed1c39a"
    assert f"{NAME} is complete" in capsys.readouterr().out
    assert job.watch(NAME) == result


def test_settings_that_cannot_work_are_refused_by_their_names(recording: Recording) -> None:
    recording.says(f"GET {BATCH}/cronjobs/graft", template())
    with pytest.raises(SettingsError, match="GRAFT_TRAINING_EPOCH is unknown"):
        job.submit("graft", training={"epoch": 5})
    assert recording.times(f"POST {JOBS}") == 0


def test_runs_are_a_table_where_they_are_shown(recording: Recording) -> None:
    failed = ended("Failed", "PodFailurePolicy")
    recording.lists(f"GET {JOBS}", job_object("done", **ended("Complete")), job_object(**failed))
    recording.lists(
        f"GET {PODS}",
        pod(run="done", **terminated(0, RELEASED)),
        pod(**terminated(2, MISSPELT.replace("settings", "a<b"))),
    )
    listed = job.runs()
    assert {run.name for run in listed} == {"done", RUN}
    header, *rows = str(listed).splitlines()
    assert header.startswith("RUN")
    assert len(rows) == 2
    shown = listed._repr_html_()
    assert shown.startswith("<pre>RUN")
    assert "a&lt;b" in shown


def test_a_failed_run_is_a_result_with_its_error(recording: Recording) -> None:
    recording.says(f"GET {JOBS}/{RUN}", job_object(**ended("Failed", "PodFailurePolicy")))
    recording.lists(f"GET {PODS}", pod(**terminated(2, MISSPELT)))
    recording.says(f"GET {PODS}/{RUN}-abcde/log", [b""])
    result = job.watch(RUN)
    assert result.error
    assert (result.status, result.exit_code) == ("failed", 2)

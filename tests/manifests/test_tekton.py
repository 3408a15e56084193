"""The Tekton example, by the validation of Tekton's own admission webhook."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from job.result import LIMIT, Result
from tests.chart.rendering import Tree, job, merged, only
from tests.manifests.examples import (
    IMAGE,
    RELEASE,
    complaints,
    insecurities,
    objects,
    planted,
    understood,
)

pytestmark = pytest.mark.chart

OBJECTS = objects("pipelines/tekton.yaml")
SUBMIT, VERIFY = (item for item in OBJECTS if item["kind"] == "Task")
PIPELINE, RUN = only(OBJECTS, "Pipeline"), only(OBJECTS, "PipelineRun")


def pod(task: Tree) -> Tree:
    """What Tekton makes of a task, without its own containers: they depend on a feature flag."""
    spec = task["spec"]
    steps = [merged(spec.get("stepTemplate", {}), step) for step in spec["steps"]]
    return {
        "serviceAccountName": RUN["spec"]["taskRunTemplate"]["serviceAccountName"],
        "securityContext": RUN["spec"]["taskRunTemplate"]["podTemplate"]["securityContext"],
        "containers": [
            {key: value for key, value in step.items() if key not in ("script", "computeResources")}
            for step in steps
        ],
        "volumes": spec["volumes"],
    }


def parameters(task: Tree) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in task["params"]}


def test_tekton_accepts_every_object() -> None:
    assert complaints("tekton", OBJECTS) == ""


@pytest.mark.parametrize(
    ("item", "path", "value", "complaint"),
    [
        (SUBMIT, "spec.steps.0.resources", {}, 'unknown field "resources"'),
        (PIPELINE, "spec.tasks.0.retries", "two", "cannot unmarshal string"),
        (SUBMIT, "spec.params.0.type", "text", "invalid value: text"),
        (SUBMIT, "spec.steps.0.args.2", "--key=$(params.kez)", "non-existent variable"),
        (PIPELINE, "spec.tasks.1.params.1.value", "$(tasks.trian.results.release)", "trian"),
        (RUN, "spec.timeouts.pipeline", "-5h", "invalid value"),
        (RUN, "apiVersion", "tekton.dev/v1beta1", "expected a Task, Pipeline or PipelineRun"),
    ],
    ids=[
        "misspelt field",
        "wrong type",
        "unknown value",
        "no such parameter",
        "no such task",
        "no time",
        "old version",
    ],
)
def test_tekton_refuses_a_planted_fault(item: Tree, path: str, value: Any, complaint: str) -> None:
    assert complaint in complaints("tekton", [planted(item, path, value)])


@pytest.mark.parametrize("task", [SUBMIT, VERIFY], ids=lambda task: task["metadata"]["name"])
def test_its_pods_pass_pod_security_restricted(task: Tree) -> None:
    assert insecurities(task["metadata"]["name"], pod(task)) == ""


def test_no_step_needs_a_container_of_tektons_own_image() -> None:
    for task in (SUBMIT, VERIFY):
        assert [step["name"] for step in task["spec"]["steps"] if "script" in step] == []


def test_the_image_is_one_value() -> None:
    assert parameters(RUN["spec"]) == {"image": IMAGE}
    assert all(parameters(task)["image"] == "$(params.image)" for task in PIPELINE["spec"]["tasks"])


def test_the_key_is_the_uid_of_the_pipeline_run() -> None:
    train, verify = PIPELINE["spec"]["tasks"]
    assert parameters(train)["key"] == "$(context.pipelineRun.uid)"
    submit = understood(SUBMIT["spec"]["steps"][0]["args"])
    assert (submit.wait, submit.key) == (True, "$(params.key)")
    filled = [
        argument.replace("$(params.release)", RELEASE)
        for argument in VERIFY["spec"]["steps"][0]["args"]
    ]
    assert understood(filled).release == RELEASE
    assert parameters(verify)["release"] == "$(tasks.train.results.release)"


def test_the_tasks_of_the_pipeline_have_the_parameters_and_results_it_uses() -> None:
    tasks = {task["metadata"]["name"]: task["spec"] for task in (SUBMIT, VERIFY)}
    for used in PIPELINE["spec"]["tasks"]:
        assert parameters(used).keys() == {
            entry["name"] for entry in tasks[used["taskRef"]["name"]]["params"]
        }
    used_results = set(re.findall(r"\$\(tasks\.train\.results\.(\w+)\)", json.dumps(PIPELINE)))
    assert used_results <= {entry["name"] for entry in SUBMIT["spec"]["results"]}


def test_the_results_of_the_longest_result_fit_into_the_4096_bytes_of_a_task(
    tmp_path: Path,
) -> None:
    longest = Result(
        status="released",
        run_id="r" * 130,
        release="s3://" + "b" * 1_100,
        promoted=True,
        plan="p" * 40,
        scores=dict.fromkeys(map(str, range(99)), 0.1),
    )
    written = results_of(longest, tmp_path)
    assert written == {"status": "released", "release": longest.release, "promoted": "true"}
    message = json.dumps(
        [{"key": key, "value": value, "type": 1} for key, value in written.items()]
    )
    assert len(message) < LIMIT / 2


def test_a_result_that_names_no_release_gives_an_empty_one(tmp_path: Path) -> None:
    assert results_of(Result(status="released"), tmp_path)["release"] == ""


def results_of(result: Result, folder: Path) -> dict[str, str]:
    """What the second step writes, run for real, once Tekton has put its paths into the script."""
    (folder / "result.json").write_text(result.to_json())
    script = re.sub(
        r"\$\(results\.(\w+)\.path\)", rf"{folder}/\1", SUBMIT["spec"]["steps"][1]["args"][0]
    )
    subprocess.run(
        [sys.executable, "-c", script],
        env={"GRAFT_RESULT_PATH": str(folder / "result.json")},
        check=True,
        timeout=60,
    )
    return {
        entry["name"]: (folder / entry["name"]).read_text() for entry in SUBMIT["spec"]["results"]
    }


def test_the_wait_may_last_as_long_as_a_run() -> None:
    run = job(objects("template.yaml"))["activeDeadlineSeconds"] / 3_600
    task, whole = (
        int(text.removesuffix("h"))
        for text in (PIPELINE["spec"]["tasks"][0]["timeout"], RUN["spec"]["timeouts"]["pipeline"])
    )
    assert run < task < whole

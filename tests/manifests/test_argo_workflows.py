"""The Argo example, by Argo's own linter."""

import pytest

from job.result import Result
from tests.chart.kinds import faults
from tests.chart.rendering import Tree, only
from tests.manifests.examples import (
    IMAGE,
    RELEASE,
    argo_value,
    complaints,
    insecurities,
    objects,
    planted,
    understood,
)

pytestmark = pytest.mark.chart

OBJECTS = objects("pipelines/argo-workflows.yaml")
WORKFLOW = only(OBJECTS, "WorkflowTemplate")
PIPELINE, TRAIN, VERIFY = WORKFLOW["spec"]["templates"]


def pod(template: Tree) -> Tree:
    """What Argo makes of a template, without its own containers: they depend on its settings."""
    return {
        "serviceAccountName": WORKFLOW["spec"]["serviceAccountName"],
        "securityContext": WORKFLOW["spec"]["securityContext"],
        "containers": [{"name": "main", **template["container"]}],
        "volumes": template["volumes"],
    }


def test_argo_accepts_the_workflow() -> None:
    assert complaints("argo", [WORKFLOW]) == ""


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("spec.templates.1.retryStrategi", {}, 'unknown field "spec.templates[1].retryStrategi"'),
        ("spec.templates.1.container.env", "none", "cannot unmarshal string"),
        ("spec.templates.0.steps.0.0.template", "trian", "template name 'trian' undefined"),
        (
            "spec.templates.2.container.args.1",
            "{{inputs.parameters.realease}}",
            "failed to resolve",
        ),
        (
            "spec.templates.1.container.args.2",
            "--key={{workflow.uuid}}",
            "failed to resolve {{workflow.uuid}}",
        ),
    ],
    ids=[
        "misspelt field",
        "wrong type",
        "no such template",
        "no such parameter",
        "no such variable",
    ],
)
def test_argo_refuses_a_planted_fault(path: str, value: object, complaint: str) -> None:
    assert complaint in complaints("argo", [planted(WORKFLOW, path, value)])


def test_the_executor_gets_the_rights_that_it_needs_and_no_more() -> None:
    role, binding = only(OBJECTS, "Role"), only(OBJECTS, "RoleBinding")
    assert faults(role, "V1Role") + faults(binding, "V1RoleBinding") == []
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [subject["name"] for subject in binding["subjects"]] == [
        WORKFLOW["spec"]["serviceAccountName"]
    ]
    assert role["rules"] == [
        {
            "apiGroups": ["argoproj.io"],
            "resources": ["workflowtaskresults"],
            "verbs": ["create", "patch"],
        }
    ]


@pytest.mark.parametrize("template", [TRAIN, VERIFY], ids=lambda template: template["name"])
def test_its_pods_pass_pod_security_restricted(template: Tree) -> None:
    assert insecurities(template["name"], pod(template)) == ""


def test_the_image_is_one_value() -> None:
    assert WORKFLOW["spec"]["arguments"]["parameters"][0] == {"name": "image", "value": IMAGE}
    assert {each["container"]["image"] for each in (TRAIN, VERIFY)} == {
        "{{workflow.parameters.image}}"
    }


def test_graft_understands_both_steps() -> None:
    submit = understood(TRAIN["container"]["args"])
    assert (submit.wait, submit.key) == (True, "{{workflow.uid}}")
    filled = [
        argument.replace("{{inputs.parameters.release}}", RELEASE)
        for argument in VERIFY["container"]["args"]
    ]
    assert understood(filled).release == RELEASE


def test_the_result_is_read_where_it_is_written_and_its_release_goes_to_the_next_step() -> None:
    (output,) = TRAIN["outputs"]["parameters"]
    assert {"name": "GRAFT_RESULT_PATH", "value": output["valueFrom"]["path"]} in TRAIN[
        "container"
    ]["env"]
    (given,) = PIPELINE["steps"][1][0]["arguments"]["parameters"]
    outputs = {
        "parameters": {
            output["name"]: Result(
                status="released", release="s3://models/flowers/releases/1"
            ).to_json()
        }
    }
    expression = given["value"].removeprefix("{{=").removesuffix("}}")
    assert (
        argo_value(expression, {"steps": {"train": {"outputs": outputs}}})
        == "s3://models/flowers/releases/1"
    )


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6])
def test_what_is_final_is_not_tried_again(code: int) -> None:
    assert retried(code) == "false"


# -1 is Argo's word for a pod that is gone.
@pytest.mark.parametrize("code", [75, -1, 137, 143])
def test_what_is_temporary_or_lost_is_tried_again(code: int) -> None:
    assert retried(code) == "true"


def retried(code: int) -> str:
    return argo_value(TRAIN["retryStrategy"]["expression"], {"lastRetry": {"exitCode": str(code)}})

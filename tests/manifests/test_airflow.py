"""The Airflow example, loaded by Airflow itself: its pods, its order, and what is tried again."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.chart.kinds import faults
from tests.manifests.examples import IMAGE, PIPELINES, insecurities, planted, understood
from tools.environments import python

pytestmark = pytest.mark.chart

DAG = PIPELINES / "airflow_dag.py"
RELEASE = "s3://models/flowers/releases/34701a43aed1c39a"


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return asked(DAG, tmp_path_factory.mktemp("airflow"))


def asked(dag: Path, home: Path) -> Any:
    """What Airflow makes of a DAG file; a deprecation in it is an error."""
    probe = Path(__file__).with_name("airflow_probe.py")
    done = subprocess.run(
        [python("airflow"), "-W", "error", probe, dag, json.dumps({"release": RELEASE})],
        env=os.environ | {"AIRFLOW_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def base(task: Any) -> Any:
    return task["pod"]["spec"]["containers"][0]


def test_kubernetes_understands_its_pods(airflow: Any) -> None:
    for task in airflow["tasks"].values():
        assert faults(task["pod"], "V1Pod") == []


def test_its_pods_pass_pod_security_restricted_the_sidecar_too(airflow: Any) -> None:
    pods = {name: task["pod"]["spec"] for name, task in airflow["tasks"].items()}
    assert [len(pod["containers"]) for pod in pods.values()] == [2, 1]
    assert [insecurities(name, pod) for name, pod in pods.items()] == ["", ""]


def test_its_pods_are_the_launchers_in_its_namespace(airflow: Any) -> None:
    for task in airflow["tasks"].values():
        assert task["pod"]["metadata"]["namespace"] == "graft"
        assert task["pod"]["spec"]["serviceAccountName"] == "graft-launcher"


def test_the_image_is_one_value(airflow: Any) -> None:
    assert {base(task)["image"] for task in airflow["tasks"].values()} == {IMAGE}
    assert DAG.read_text().count(IMAGE) == 1


def test_the_key_is_the_dag_run(airflow: Any) -> None:
    submit = understood(base(airflow["tasks"]["train"])["args"])
    assert (submit.wait, submit.key) == (True, "flowers/scheduled__2026-01-04")


def test_the_result_becomes_the_xcom_and_its_release_goes_to_the_next_task(airflow: Any) -> None:
    train, verify = airflow["tasks"]["train"], airflow["tasks"]["verify"]
    # Where Airflow's sidecar reads it.
    assert base(train)["env"] == [
        {"name": "GRAFT_RESULT_PATH", "value": "/airflow/xcom/return.json"}
    ]
    assert train["then"] == ["verify"]
    assert understood(base(verify)["args"]).release == RELEASE


def test_only_what_is_not_final_is_tried_again(airflow: Any) -> None:
    final = {
        int(code) for code, error in airflow["ends"].items() if error == "AirflowFailException"
    }
    assert final == {1, 2, 3, 4, 5, 6}
    assert airflow["ends"].keys() - {str(code) for code in final} == {"75", "137"}
    assert airflow["ends"]["75"] == airflow["ends"]["137"] == "AirflowException"
    assert airflow["tasks"]["train"]["retries"] > 0


def test_a_planted_fault_in_a_pod_is_refused(airflow: Any) -> None:
    pod = airflow["tasks"]["train"]["pod"]
    assert faults(planted(pod, "spec.serviceAcountName", "graft-launcher"), "V1Pod")
    assert faults(planted(pod, "spec.containers.0.args", "submit flowers"), "V1Pod")
    assert "runAsUser=0" in insecurities(
        "train", planted(pod["spec"], "containers.1.securityContext.runAsUser", 0)
    )


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("deferrable=True", "deferable=True", "deferable"),
        ("params.epochs", "params.epoks", "epoks"),
    ],
    ids=["misspelt argument", "no such parameter"],
)
def test_airflow_refuses_a_planted_fault(
    tmp_path: Path, right: str, wrong: str, complaint: str
) -> None:
    text = DAG.read_text()
    assert right in text
    (tmp_path / "airflow_dag.py").write_text(text.replace(right, wrong))
    with pytest.raises(AssertionError, match=complaint):
        asked(tmp_path / "airflow_dag.py", tmp_path)

"""Run by Airflow's own Python: what Airflow makes of the example, as JSON in the last line.

    airflow_probe.py DAG_FILE RESULT

`RESULT` is what the first task is taken to have left as its XCom. The API server agrees to
everything.
"""

import importlib.util
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

EXIT_CODES = (1, 2, 3, 4, 5, 6, 75, 137)


class Agreeable(BaseHTTPRequestHandler):
    """Answers every request with an empty pod."""

    POD = b'{"spec": {"containers": []}}'

    def _agree(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.POD)))
        self.end_headers()
        self.wfile.write(self.POD)

    do_DELETE = do_GET = do_PATCH = _agree  # noqa: N815 - http.server calls them so

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@contextmanager
def api_server() -> Iterator[None]:
    """An API server that Airflow finds through its connection, read from the environment."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Agreeable)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kubeconfig = {
        "clusters": [
            {"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        ],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    connection = {"conn_type": "kubernetes", "extra": {"kube_config": kubeconfig}}
    os.environ["AIRFLOW_CONN_KUBERNETES_DEFAULT"] = json.dumps(connection)
    yield
    server.shutdown()


def main() -> None:
    """Print the tasks with their pods and how the first ends; fail if Airflow cannot store them."""
    from airflow.serialization.serialized_objects import DagSerialization

    dag = loaded(Path(sys.argv[1])).train.dag
    DagSerialization.to_dict(dag)  # as the DAG processor stores it
    result = json.loads(sys.argv[2])
    report = {
        "tasks": {task.task_id: described(task, result) for task in dag.tasks},
        "ends": {code: end(dag.get_task("train"), code) for code in EXIT_CODES},
    }
    print(json.dumps(report))


def loaded(path: Path) -> ModuleType:
    """The DAG file as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def described(task: Any, result: Any) -> dict[str, Any]:
    """A task with its pod, once its templates have been filled in."""
    from kubernetes.client import ApiClient

    task.render_template_fields(
        {
            "dag_run": SimpleNamespace(dag_id=task.dag_id, run_id="scheduled__2026-01-04"),
            "params": task.dag.params.dump(),
            "ti": SimpleNamespace(xcom_pull=lambda task_id: {"train": result}[task_id]),
        }
    )
    pod = task.build_pod_request_obj()
    return {
        "pod": ApiClient().sanitize_for_serialization(pod),
        "then": sorted(task.downstream_task_ids),
        "retries": task.retries,
    }


def end(task: Any, code: int) -> str:
    """The exception, by name, of a task whose container has ended with this exit code."""
    from airflow.sdk.exceptions import AirflowException
    from kubernetes.client import models as k8s

    terminated = k8s.V1ContainerStateTerminated(exit_code=code)
    status = k8s.V1ContainerStatus(
        name=task.base_container_name,
        state=k8s.V1ContainerState(terminated=terminated),
        image="",
        image_id="",
        ready=False,
        restart_count=0,
    )
    pod = k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(name="train", namespace="graft"),
        spec=k8s.V1PodSpec(containers=[]),
        status=k8s.V1PodStatus(phase="Failed", container_statuses=[status]),
    )
    try:
        task.cleanup(pod, pod)
    except AirflowException as error:
        return type(error).__name__
    return ""


if __name__ == "__main__":
    with api_server():
        main()

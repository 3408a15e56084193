"""A namespace of one test under *restricted*, the jobs in it, and what became of them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from kubernetes import client

from tools.cluster.target import TOOLS_IMAGE

RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


class Namespace:
    """A namespace of one test, in which everything has to satisfy Pod Security *restricted*."""

    def __init__(self, api: client.ApiClient, name: str) -> None:
        self.name = name
        self.core: Any = client.CoreV1Api(
            api
        )  # its types want objects where it takes plain JSON as well
        self.batch: Any = client.BatchV1Api(api)

    def run(
        self, script: str, *, pod: Any = None, container: Any = None, labels: Any = None, **job: Any
    ) -> str:
        """Start a job that runs the script in a shell, and return its name."""
        name = f"job-{uuid4().hex[:8]}"
        main = {
            "name": "main",
            "image": TOOLS_IMAGE,
            "command": ["sh", "-c", script],
            "securityContext": RESTRICTED,
        }
        spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1} | (pod or {})
        spec["containers"] = [main | {"imagePullPolicy": "IfNotPresent"} | (container or {})]
        template = {"metadata": {"labels": labels or {}}, "spec": spec}
        body = {"metadata": {"name": name}, "spec": {"backoffLimit": 0, "template": template} | job}
        self.batch.create_namespaced_job(self.name, body)
        return name

    def outcome(self, job: str, seconds: float = 90) -> client.V1JobCondition:
        """Wait for the job's end and return the condition that says which end."""

        def ended() -> Any:
            conditions = self.batch.read_namespaced_job(job, self.name).status.conditions or []
            return next((one for one in conditions if one.type in {"Complete", "Failed"}), None)

        return eventually(ended, seconds)

    def pods(self, job: str) -> list[Any]:
        return self.core.list_namespaced_pod(self.name, label_selector=f"job-name={job}").items

    def output(self, job: str) -> str:
        """Wait until the job has completed, and return what its pods printed."""
        outcome = self.outcome(job)
        printed = "".join(
            self.core.read_namespaced_pod_log(pod.metadata.name, self.name)
            for pod in self.pods(job)
        )
        assert outcome.type == "Complete", f"{outcome.reason}: {outcome.message}\n{printed}"
        return printed


@contextmanager
def fresh(api: client.ApiClient) -> Iterator[Namespace]:
    """A namespace that nobody else uses, which goes with all that is in it."""
    namespace = Namespace(api, f"graft-test-{uuid4().hex[:8]}")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace.core.create_namespace({"metadata": {"name": namespace.name, "labels": labels}})
    try:
        eventually(lambda: namespace.core.list_namespaced_service_account(namespace.name).items)
        yield namespace
    finally:
        namespace.core.delete_namespace(namespace.name)


def eventually(attempt: Callable[[], Any], seconds: float = 90) -> Any:
    """Return the first answer that is not empty."""
    deadline = time.monotonic() + seconds
    while not (answer := attempt()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.3)
    return answer

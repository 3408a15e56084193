"""What the tests on a real cluster share: the cluster, a namespace under *restricted*, jobs and what became of them.

The cluster is the one that `make cluster-up` started, or the current context of `GRAFT_TEST_KUBECONFIG`: any cluster
of kind, k3d or minikube that can run the image `GRAFT_TEST_IMAGE` (busybox, if it says nothing else).
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from kubernetes import client, config

from tests.cluster import layout

# Read before any test, since each test starts without GRAFT_ in its environment.
FOREIGN = os.environ.get("GRAFT_TEST_KUBECONFIG")
IMAGE = os.environ.get("GRAFT_TEST_IMAGE", "busybox") if FOREIGN else layout.TOOLS_IMAGE

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
        self.core: Any = client.CoreV1Api(api)  # its types want objects where it takes plain JSON as well
        self.batch: Any = client.BatchV1Api(api)

    def run(self, script: str, *, pod: Any = None, container: Any = None, labels: Any = None, **job: Any) -> str:
        """Start a job that runs the script in a shell, and return its name."""
        name = f"job-{uuid4().hex[:8]}"
        main = {"name": "main", "image": IMAGE, "command": ["sh", "-c", script], "securityContext": RESTRICTED}
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
        printed = "".join(self.core.read_namespaced_pod_log(pod.metadata.name, self.name) for pod in self.pods(job))
        assert outcome.type == "Complete", f"{outcome.reason}: {outcome.message}\n{printed}"
        return printed


def eventually(attempt: Callable[[], Any], seconds: float = 90) -> Any:
    """Return the first answer that is not empty."""
    deadline = time.monotonic() + seconds
    while not (answer := attempt()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.3)
    return answer


@pytest.fixture(scope="session")
def api() -> Iterator[client.ApiClient]:
    kubeconfig = Path(FOREIGN or layout.KUBECONFIG)
    if not kubeconfig.exists():
        pytest.fail(f"No cluster: {kubeconfig} is not there. Start one with `make cluster-up`.", pytrace=False)
    with config.new_client_from_config(str(kubeconfig)) as connected:
        yield connected


@pytest.fixture
def namespace(api: client.ApiClient) -> Iterator[Namespace]:
    core: Any = client.CoreV1Api(api)
    name = f"graft-test-{uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    core.create_namespace({"metadata": {"name": name, "labels": labels}})
    eventually(lambda: core.list_namespaced_service_account(name).items)
    yield Namespace(api, name)
    core.delete_namespace(name)


@pytest.fixture(scope="session")
def s3(api: client.ApiClient) -> Any:
    """Return a client of the S3 server beside the cluster, as seen from outside."""
    if FOREIGN:
        pytest.skip("the S3 server is one of our own cluster")
    return boto3.client(
        "s3",
        endpoint_url=layout.S3,
        region_name=layout.S3_REGION,
        aws_access_key_id=layout.S3_ACCESS_KEY,
        aws_secret_access_key=layout.S3_SECRET_KEY,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"test-{uuid4().hex[:8]}"
    s3.create_bucket(Bucket=name)
    return name

"""What the tests on a real cluster share: the cluster, its store, the image, and a place for each test.

The cluster is the one that `make cluster-up` started, or the current context of `GRAFT_TEST_KUBECONFIG`: any cluster
of kind, k3d or minikube that can run the image `GRAFT_TEST_IMAGE` (busybox, if it says nothing else).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from kubernetes import client, config

from tests.cluster import layout, node
from tests.cluster.namespace import FOREIGN, Namespace, eventually
from tests.cluster.site import Site
from tests.image import build


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


@pytest.fixture(scope="session")
def image() -> str:
    """The CPU image of this checkout, known to the node."""
    if FOREIGN:
        return os.environ.get("GRAFT_TEST_JOB_IMAGE", "graft:latest")
    node.load(build.cpu_archive())
    return build.TEST_IMAGE


@pytest.fixture
def site(namespace: Namespace, s3: Any, bucket: str, image: str) -> Site:
    """A prepared place without photographs."""
    site = Site(namespace, s3, bucket, image)
    site.prepare()
    return site

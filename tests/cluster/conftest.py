"""What the tests on a real cluster share: the cluster, its store, the image, a namespace each."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any
from uuid import uuid4

import pytest
from kubernetes import client, config

from tests.cluster import store
from tests.cluster.namespace import Namespace, fresh
from tests.cluster.site import Site
from tests.cluster.store import Store
from tools.cluster import node, target
from tools.image import build


@pytest.fixture(scope="session")
def api() -> Iterator[client.ApiClient]:
    if not target.KUBECONFIG.exists():
        pytest.fail(
            f"No cluster: {target.KUBECONFIG} is not there. Start one with `make cluster-up`.",
            pytrace=False,
        )
    with config.new_client_from_config(str(target.KUBECONFIG)) as connected:
        yield connected


@pytest.fixture
def namespace(api: client.ApiClient) -> Iterator[Namespace]:
    with fresh(api) as namespace:
        yield namespace


@pytest.fixture(scope="session", name="store")
def s3_server(api: client.ApiClient) -> Iterator[Store]:
    """Return the S3 server of all runs."""
    with (
        store.in_the_cluster(api)
        if target.FOREIGN
        else nullcontext(store.beside_our_node()) as server
    ):
        yield server


@pytest.fixture
def s3(store: Store) -> Any:
    """Return a client of the S3 server, as seen from this machine."""
    return store.client


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"test-{uuid4().hex[:8]}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="session")
def image() -> str:
    """The CPU image of this checkout, known to the node."""
    if not target.FOREIGN:
        node.load(build.cpu_archive())
    return target.JOB_IMAGE


@pytest.fixture
def site(namespace: Namespace, store: Store, bucket: str, image: str) -> Site:
    """A prepared place without photographs."""
    site = Site(namespace, store, bucket, image)
    site.prepare()
    return site

"""The S3 server of the runs: beside our own node, or manifests/bucket.yaml elsewhere."""

import functools
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import yaml
from botocore.config import Config
from kubernetes import client

from tests.cluster.namespace import fresh
from tools.cluster import layout, node, target
from tools.cluster.target import kubectl
from tools.paths import MANIFESTS

MANIFEST = MANIFESTS / "bucket.yaml"
PORT = 7070


@dataclass(frozen=True)
class Store:
    """An S3 server: `endpoint` is its URL for pods, `address` for this machine, `away` hides it."""

    endpoint: str
    address: str
    access_key: str
    secret_key: str
    away: Callable[[], AbstractContextManager[None]]
    region: str = layout.S3_REGION

    @functools.cached_property
    def client(self) -> Any:
        """Its client on this machine."""
        return boto3.client(
            "s3",
            endpoint_url=self.address,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    @property
    def keys(self) -> dict[str, str]:
        """The Secret that lets a run in."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    @property
    def environment(self) -> dict[str, str]:
        """What lets a program on this machine in."""
        return self.keys | {"AWS_DEFAULT_REGION": self.region, "AWS_ENDPOINT_URL_S3": self.address}


def beside_our_node() -> Store:
    """The server that `make cluster-up` starts."""
    return Store(layout.S3, layout.S3, layout.S3_ACCESS_KEY, layout.S3_SECRET_KEY, node.store_away)


@contextmanager
def in_the_cluster(api: client.ApiClient) -> Iterator[Store]:
    """The laptop's bucket in a namespace of its own, which goes with it."""
    secret_key = secrets.token_hex(20)
    with fresh(api) as namespace:
        key = {"AWS_ACCESS_KEY_ID": "laptop", "AWS_SECRET_ACCESS_KEY": secret_key}
        secret = {"metadata": {"name": "graft-bucket"}, "stringData": key}
        namespace.core.create_namespaced_secret(namespace.name, secret)
        kubectl("apply", "--filename=-", given=_objects(namespace.name))
        endpoint = f"http://bucket.{namespace.name}:{PORT}"
        with _Way(namespace.name) as way:
            yield Store(endpoint, f"http://{way.address}", "laptop", secret_key, way.away)


def _objects(namespace: str) -> list[Any]:
    """The manifest in this namespace, without the policy that keeps other namespaces out."""
    objects = [
        item for item in yaml.safe_load_all(MANIFEST.read_text()) if item["kind"] != "NetworkPolicy"
    ]
    for item in objects:
        item["metadata"]["namespace"] = namespace
    return objects


class _Way:
    """The way from this machine to the server: it ends with the pod and is renewed."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._stack = ExitStack()
        self.address = ""

    def __enter__(self) -> "_Way":
        kubectl(
            "rollout",
            "status",
            "deployment/bucket",
            f"--namespace={self._namespace}",
            "--timeout=300s",
        )
        own = int(self.address.rpartition(":")[2] or 0)
        self.address = self._stack.enter_context(
            target.forwarded(self._namespace, "service/bucket", PORT, own)
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Let no server run for a while; its volume stays."""
        self._scale(0)
        self._stack.close()
        try:
            yield
        finally:
            self._scale(1)
            self.__enter__()

    def _scale(self, replicas: int) -> None:
        place = f"--namespace={self._namespace}"
        kubectl("scale", "deployment/bucket", f"--replicas={replicas}", place)
        if not replicas:
            kubectl(
                "wait",
                "pods",
                "--for=delete",
                "--selector=app.kubernetes.io/name=bucket",
                place,
                "--timeout=60s",
            )

"""What `make publish` pushes is all that a cluster needs: the chart's address and no checkout."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.namespace import Namespace
from tests.cluster.site import Site
from tests.cluster.store import Store
from tests.image.registries import OFFLINE, make_keys, serve_registry
from tools.cluster import layout, target
from tools.image import programs
from tools.image.build import read_version
from tools.paths import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.published]


@dataclass(frozen=True)
class Pushed:
    """What is in the registry: digests by name, and the key that signed them."""

    digests: dict[str, str]
    key: Path

    def verify(self, name: str) -> list[Any]:
        """What cosign found signed, which has to be something."""
        command = [str(programs.cosign()), "verify", f"--key={self.key}", *OFFLINE, name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        claims: list[Any] = json.loads(done.stdout)
        return claims


@pytest.fixture(scope="module")
def pushed(api: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushed]:
    """The CPU image and the chart, published as `make publish` does."""
    if target.FOREIGN:
        pytest.skip("A cluster elsewhere does not reach a registry on this machine.")
    keys = tmp_path_factory.mktemp("published") / "keys"
    make_keys(keys)
    with serve_registry(layout.REGISTRY) as address:
        command = [sys.executable, "-m", "tools.image.publish", "--plain-http", "--base=debian"]
        options = [f"--registry={address}/team", "--variants=cpu", f"--key={keys}/cosign.key"]
        environment = os.environ | {"COSIGN_PASSWORD": "secret"}
        subprocess.run([*command, *options], cwd=ROOT, env=environment, check=True)
        described = json.loads((ROOT / "build" / "published.json").read_text())
        yield Pushed({one["name"]: one["digest"] for one in described}, keys / "cosign.pub")


@pytest.fixture
def empty(namespace: Namespace, store: Store, bucket: str) -> Site:
    """A namespace with weights in its bucket, for which the node has been given no image."""
    site = Site(namespace, store, bucket, image=":")
    site.prepare()
    return site


def test_a_signed_chart_is_installed_by_its_address_and_runs_the_signed_image(
    empty: Site, pushed: Pushed
) -> None:
    image = f"{layout.REGISTRY}/team/graft:{read_version()}-cpu"
    chart = f"{layout.REGISTRY}/team/charts/graft:{read_version()}"
    for name in (image, chart):
        (claim,) = pushed.verify(name)
        signed = claim["critical"]["image"]["docker-manifest-digest"]
        assert signed == pushed.digests[name]

    empty.add_photographs()
    values = {key: value for key, value in empty.values.items() if key != "image"}
    address, _, version = chart.rpartition(":")
    where = (f"oci://{address}", f"--version={version}", "--plain-http", "--values=-")
    empty.raw_helm("install", "flowers", *where, given=values)

    # A node that has none of the layers pulls and unpacks gigabytes first.
    assert empty.completed(empty.job())["status"] == "released"
    (pod,) = empty.pods(empty.job())
    assert pod.status.container_statuses[0].image_id.endswith(pushed.digests[image])

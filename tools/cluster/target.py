"""The cluster under test: that of `make cluster-up`, or of `GRAFT_TEST_KUBECONFIG`.

Any cluster of kind, k3d or minikube will do. It has to know the CPU image of this checkout, as
`make image VARIANT=cpu` names it (or `GRAFT_TEST_JOB_IMAGE`), and to be able to pull a busybox and
the S3 server of manifests/bucket.yaml.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools.cluster import binaries, layout
from tools.image import build

# Read before any test, since each test starts without GRAFT_ in its environment.
FOREIGN = os.environ.get("GRAFT_TEST_KUBECONFIG", "")
KUBECONFIG = Path(FOREIGN or layout.KUBECONFIG)
TOOLS_IMAGE = "busybox:stable" if FOREIGN else layout.TOOLS_IMAGE
JOB_IMAGE = (
    os.environ.get("GRAFT_TEST_JOB_IMAGE", build.tag("cpu")) if FOREIGN else build.TEST_IMAGE
)


def command(*arguments: str) -> list[str]:
    """The command line of a kubectl that speaks to the cluster."""
    ours = not FOREIGN or shutil.which("kubectl") is None
    return [
        str(binaries.build() / "kubectl") if ours else "kubectl",
        f"--kubeconfig={KUBECONFIG}",
        *arguments,
    ]


def call(*arguments: str, given: list[Any] | None = None) -> subprocess.CompletedProcess[str]:
    """Call kubectl, with the `given` objects as its input; its end is the caller's to judge."""
    objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": given or []})
    return subprocess.run(
        command(*arguments), input=objects, capture_output=True, text=True, check=False
    )


def kubectl(*arguments: str, given: list[Any] | None = None) -> str:
    """What kubectl prints, which has to succeed."""
    done = call(*arguments, given=given)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def forwarded(namespace: str, target: str, port: int, own: int = 0) -> Iterator[str]:
    """The address (host:port) on this machine that forwards to a pod or a service."""
    line = command(
        "port-forward",
        f"--namespace={namespace}",
        "--address=127.0.0.1",
        target,
        f"{own or ''}:{port}",
    )
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as forwarding:
        try:
            assert forwarding.stdout
            said = forwarding.stdout.readline()
            address = re.search(r"Forwarding from (\S+)", said)
            assert address, said + forwarding.stdout.read()
            yield address[1]
        finally:
            forwarding.terminate()

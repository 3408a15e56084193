"""A real registry on this machine, and what is pushed to it."""

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_connection, socket
from tempfile import TemporaryDirectory
from typing import Any

from tools.image import programs

CONFIGURATION = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "{address}"}}
"""
ACCEPTED = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"


@contextmanager
def serve_registry() -> Iterator[str]:
    """A registry of distribution on loopback. Yields its host and port."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"127.0.0.1:{port}"
    with TemporaryDirectory(prefix="graft-registry-") as folder:
        file = Path(folder) / "config.yml"
        file.write_text(CONFIGURATION.format(folder=f"{folder}/data", address=address))
        process = subprocess.Popen(
            [programs.registry(), "serve", file], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            _wait_for_port(process, port)
            yield address
        finally:
            process.terminate()
            process.communicate(timeout=30)


def _wait_for_port(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(600):
        if process.poll() is not None:
            _, problem = process.communicate()
            raise RuntimeError(f"the registry ended: {problem.decode()}")
        try:
            create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the registry does not listen")


def get_manifest(address: str, repository: str, reference: str) -> dict[str, Any]:
    """What the registry itself answers for a tag or a digest."""
    request = urllib.request.Request(
        f"http://{address}/v2/{repository}/manifests/{reference}", headers={"Accept": ACCEPTED}
    )
    with urllib.request.urlopen(request) as answer:
        return dict(json.load(answer))

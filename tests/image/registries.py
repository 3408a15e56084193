"""A real registry on this machine, and what is pushed to it."""

import json
import os
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
# Cosign asks no transparency log, and speaks HTTP.
OFFLINE = ("--insecure-ignore-tlog=true", "--allow-http-registry")
ACCEPTED = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"


@contextmanager
def serve_registry(address: str = "") -> Iterator[str]:
    """A registry of distribution at host:port, or on loopback. Yields host and port."""
    address = address or _find_free_address()
    with TemporaryDirectory(prefix="graft-registry-") as folder:
        file = Path(folder) / "config.yml"
        file.write_text(CONFIGURATION.format(folder=f"{folder}/data", address=address))
        process = subprocess.Popen(
            [programs.registry(), "serve", file], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            _wait_for_port(process, address)
            yield address
        finally:
            process.terminate()
            process.communicate(timeout=30)


def _find_free_address() -> str:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _wait_for_port(process: subprocess.Popen[bytes], address: str) -> None:
    host, _, port = address.rpartition(":")
    for _ in range(600):
        if process.poll() is not None:
            _, problem = process.communicate()
            raise RuntimeError(f"the registry ended: {problem.decode()}")
        try:
            create_connection((host, int(port)), timeout=1).close()
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


def make_keys(folder: Path, password: str = "secret") -> None:
    """Make a key pair of cosign in a new folder: `cosign.key` and `cosign.pub`."""
    folder.mkdir()
    subprocess.run(
        [programs.cosign(), "generate-key-pair"],
        cwd=folder,
        env=os.environ | {"COSIGN_PASSWORD": password},
        check=True,
    )

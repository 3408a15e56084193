"""An S3 server on the loopback, one for all rows that need a bucket."""

import contextlib
import functools
import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from unittest import mock

from tools.bench.measuring import Workplace
from tools.cluster import binaries

BUCKET = "bench"


def serve(place: Workplace) -> None:
    """Have a server with an empty bucket, and the variables by which the AWS SDK finds it.

    It is versitygw in a process of its own, on the same cores, until all rows are measured.
    """
    _start_server(place.folder.parent / "served", place.stack)


@functools.cache
def _start_server(folder: Path, stack: contextlib.ExitStack) -> None:
    (folder / BUCKET).mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    variables = {
        "AWS_ENDPOINT_URL_S3": f"http://{address}",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "made-up-here",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    keys = {
        "ROOT_ACCESS_KEY": variables["AWS_ACCESS_KEY_ID"],
        "ROOT_SECRET_KEY": variables["AWS_SECRET_ACCESS_KEY"],
    }
    command = [str(binaries.versitygw()), "--port", address, "--quiet", "--health", "/health"]
    process = subprocess.Popen(
        [*command, "posix", str(folder)],
        env=keys,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(process.wait)
    stack.callback(process.terminate)
    stack.enter_context(mock.patch.dict(os.environ, variables))
    _await_health(f"http://{address}/health")


def _await_health(url: str) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.1)
    raise SystemExit(f"{url} did not answer within 10 s.")

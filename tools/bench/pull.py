"""The pull of a data set out of a bucket, beside s5cmd. Prints rows as JSON.

    python -m tools.bench.pull [turns]

The server is versitygw on the loopback, in a process of its own on the same cores. Ours lists,
downloads, verifies each checksum, and for images also hashes and keeps the content. s5cmd lists and
downloads, and verifies nothing. The ratio is its seconds divided by ours, as the median of turns in
which both follow each other.
"""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tools import go
from tools.cluster import binaries
from tools.paths import PROGRAMS

BUCKET = "pull"
SMALL, SMALL_BYTES = 3_000, 100_000
LARGE, LARGE_BYTES = 20, 64 << 20
CONNECTIONS = 16


def main(turns: str = "3") -> None:
    """Measure both pulls and print their rows."""
    with tempfile.TemporaryDirectory(prefix="graft-pull-") as folder, serve(Path(folder)):
        fill_bucket()
        rows = [
            compare("pull-small", f"{SMALL:,} x 100 KB", pull_images, int(turns)),
            compare("pull-large", f"{LARGE} x 64 MB", pull_objects, int(turns)),
        ]
    print(json.dumps(rows, indent=2))


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[None]:
    """A new S3 server, and the variables by which the AWS SDK finds it."""
    bucket = folder / "served" / BUCKET
    bucket.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    keys = {"ROOT_ACCESS_KEY": "bench", "ROOT_SECRET_KEY": "made-up-here"}
    command = [str(binaries.versitygw()), "--port", address, "--quiet", "--health", "/health"]
    os.environ |= {
        "AWS_ENDPOINT_URL_S3": f"http://{address}",
        "AWS_ACCESS_KEY_ID": keys["ROOT_ACCESS_KEY"],
        "AWS_SECRET_ACCESS_KEY": keys["ROOT_SECRET_KEY"],
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with subprocess.Popen([*command, "posix", str(bucket.parent)], env=keys) as process:
        try:
            _await_health(f"http://{address}/health")
            yield
        finally:
            process.terminate()


def fill_bucket() -> None:
    """Write objects that differ, each with a checksum that the server keeps."""
    import boto3

    client = boto3.client("s3")

    def put(folder: str, number: int, size: int) -> None:
        content = hashlib.sha256(f"{folder}/{number}".encode()).digest() * (size // 32)
        client.put_object(Bucket=BUCKET, Key=f"{folder}/{number:05}.jpg", Body=content)

    with ThreadPoolExecutor(4) as pool:
        images = [f"small/{'cat' if number % 2 else 'dog'}" for number in range(SMALL)]
        list(pool.map(put, images, range(SMALL), itertools.repeat(SMALL_BYTES)))
        list(pool.map(put, ["large"] * LARGE, range(LARGE), itertools.repeat(LARGE_BYTES)))


def pull_images(folder: Path) -> None:
    """The images as a run fetches them, into an empty cache."""
    from job import dataset, telemetry
    from job.settings import CacheSettings, DatasetSettings

    settings = DatasetSettings(uri=f"s3://{BUCKET}/small")
    listing = dataset.survey(settings)
    dataset.fetch(listing, settings, CacheSettings(dir=folder), telemetry.silent())


def pull_objects(folder: Path) -> None:
    """The large objects as archives are fetched, but all at once."""
    from job.storage import connect, download

    store = connect(f"s3://{BUCKET}/large")
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for done in [
            pool.submit(download, store, entry.key, folder / entry.key, entry)
            for entry in store.list()
        ]:
            done.result()


def compare(name: str, what: str, ours: Callable[[Path], None], turns: int) -> dict[str, Any]:
    """One row: both sides in turns."""
    prefix = name.removeprefix("pull-")
    s5cmd = go.program(PROGRAMS / "s5cmd", "github.com/peak/s5cmd/v2")
    command = [
        str(s5cmd),
        "--log",
        "error",
        "--endpoint-url",
        os.environ["AWS_ENDPOINT_URL_S3"],
        "cp",
    ]

    def rival(folder: Path) -> None:
        source = f"s3://{BUCKET}/{prefix}/*"
        subprocess.run([*command, source, f"{folder}/"], check=True)

    pairs = [(_time_pull(ours), _time_pull(rival)) for _ in range(turns)]
    return {
        "name": name,
        "ours": f"pull of {what}, verified",
        "rival": "s5cmd",
        "ours_seconds": statistics.median(mine[0] for mine, _ in pairs),
        "rival_seconds": statistics.median(theirs[0] for _, theirs in pairs),
        "ratio": statistics.median(theirs[0] / mine[0] for mine, theirs in pairs),
        "cpu_ratio": statistics.median(theirs[1] / mine[1] for mine, theirs in pairs),
        "turns": turns,
    }


def _time_pull(pull: Callable[[Path], None]) -> tuple[float, float]:
    """Seconds and CPU seconds of a pull into an empty folder. The server's CPU does not count."""
    folder = Path(tempfile.mkdtemp(prefix="graft-pull-"))
    try:
        began, cpu_began = time.monotonic(), _count_cpu_seconds()
        pull(folder)
        return time.monotonic() - began, _count_cpu_seconds() - cpu_began
    finally:
        shutil.rmtree(folder)


def _count_cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _await_health(url: str) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.1)
    raise SystemExit(f"{url} did not answer within 10 s.")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The pull of a data set out of a bucket, beside s5cmd.

Ours lists, downloads, verifies each checksum, and for images also hashes and keeps the content.
s5cmd lists and downloads, and verifies nothing.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools import go
from tools.bench.measuring import Sample, Sides, Workplace, time_command, time_work
from tools.bench.serving import BUCKET, serve
from tools.paths import PROGRAMS

SMALL_BYTES, LARGE_BYTES = 100_000, 64 << 20
QUICK_SMALL, FULL_SMALL = 1_000, 3_000
QUICK_LARGE, FULL_LARGE = 8, 20
CONNECTIONS = 16


def prepare_small(place: Workplace) -> Sides:
    """Images as a run fetches them into an empty cache, beside s5cmd."""
    count = QUICK_SMALL if place.quick else FULL_SMALL
    serve(place)
    fill_bucket(count, SMALL_BYTES, lambda number: f"small/{'cat' if number % 2 else 'dog'}")
    return _compare("small", count, pull_images)


def prepare_large(place: Workplace) -> Sides:
    """Large objects as archives are fetched, but all at once, beside s5cmd."""
    count = QUICK_LARGE if place.quick else FULL_LARGE
    serve(place)
    fill_bucket(count, LARGE_BYTES, lambda _: "large")
    return _compare("large", count, pull_objects)


def fill_bucket(count: int, size: int, name_folder: Callable[[int], str]) -> None:
    """Write objects that differ, each with a checksum that the server keeps."""
    import boto3

    client = boto3.client("s3")

    def put(number: int) -> None:
        key = f"{name_folder(number)}/{number:05}.jpg"
        content = hashlib.sha256(key.encode()).digest() * (size // 32)
        client.put_object(Bucket=BUCKET, Key=key, Body=content)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, range(count)))


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
        waiting = [
            pool.submit(download, store, entry.key, folder / entry.key, entry)
            for entry in store.list()
        ]
        for task in waiting:
            task.result()


def _compare(prefix: str, count: int, pull: Callable[[Path], None]) -> Sides:
    s5cmd = go.program(PROGRAMS / "s5cmd", "github.com/peak/s5cmd/v2")
    endpoint = ("--endpoint-url", os.environ["AWS_ENDPOINT_URL_S3"])
    command = (str(s5cmd), "--log", "error", *endpoint, "cp", f"s3://{BUCKET}/{prefix}/*")

    def ours() -> Sample:
        return _use_folder(lambda folder: time_work(lambda: pull(folder)))

    def rival() -> Sample:
        return _use_folder(lambda folder: time_command((*command, f"{folder}/")))

    # The first time imports the SDK.
    ours()
    return Sides(ours, rival, {"objects": float(count)})


def _use_folder(pull: Callable[[Path], Sample]) -> Sample:
    """Pull into an empty folder, whose removal is not measured."""
    folder = Path(tempfile.mkdtemp(prefix="graft-pull-"))
    try:
        return pull(folder)
    finally:
        shutil.rmtree(folder)

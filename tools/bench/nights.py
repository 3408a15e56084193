"""What a night costs: a first run on a bucket, one with nothing new, and one with 1 % new images.

The bucket is an S3 server on the loopback. The first run is measured once for all rows.
"""

import functools
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.bench.measuring import Sample, Sides, Workplace, time_command
from tools.bench.pictures import draw_pictures
from tools.bench.serving import BUCKET, serve
from tools.bench.starting import GRAFT, SIDE, name_weights

QUICK_PICTURES, FULL_PICTURES = 500, 10_000
# So often 1 % of the pictures are held back, for nights that find something new.
NEW_PARTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstNight:
    """A job after its first run.

    Attributes:
        variables: of its runs.
        sample: what the first run took.
        seconds: of each of its phases.
        new: for each later night, the pictures that no run has seen.
        pictures: the folder of all pictures.
    """

    variables: dict[str, str]
    sample: Sample
    seconds: dict[str, float]
    new: list[list[Path]]
    pictures: Path


def prepare_unchanged(place: Workplace) -> Sides:
    """A night with nothing new, as a share of the first run."""
    night = _find_first_night(place)
    return _compare_with(night, lambda: time_command((*GRAFT, "run"), night.variables))


def prepare_new(place: Workplace) -> Sides:
    """A night with 1 % new images, as a share of the first run."""
    night = _find_first_night(place)

    def ours() -> Sample:
        _upload(night.pictures, night.new.pop())
        return time_command((*GRAFT, "run"), night.variables)

    return _compare_with(night, ours)


def prepare_export(place: Workplace) -> Sides:
    """The phase that exports, as a share of the first run."""
    night = _find_first_night(place)
    return _compare_with(night, lambda: Sample(night.seconds["export"], 0.0))


def prepare_overlap(place: Workplace) -> Sides:
    """The first run, beside the longer one of its pull and the rest."""
    night = _find_first_night(place)
    pull = night.seconds["survey"] + night.seconds["dataset"]
    rest = sum(night.seconds.values()) - pull
    return Sides(
        lambda: Sample(pull + rest, 0.0),
        lambda: Sample(max(pull, rest), 0.0),
        {"seconds of the pull": pull, "seconds of the rest": rest},
    )


def _compare_with(night: FirstNight, ours: Callable[[], Sample]) -> Sides:
    return Sides(ours, lambda: night.sample, {"pictures": float(_count_known(night))})


def _count_known(night: FirstNight) -> int:
    pictures = len(list(night.pictures.rglob("*.jpg")))
    return pictures - sum(len(part) for part in night.new)


def _find_first_night(place: Workplace) -> FirstNight:
    """The first run, which all rows of this module share."""
    serve(place)
    count = QUICK_PICTURES if place.quick else FULL_PICTURES
    return _run_first_night(place.folder.parent / "nights", count)


@functools.cache
def _run_first_night(folder: Path, count: int) -> FirstNight:
    pictures = draw_pictures(folder / "pictures", count)
    paths = sorted(pictures.rglob("*.jpg"))
    _upload(pictures, [path for number, path in enumerate(paths) if number % 100 >= NEW_PARTS])
    result = folder / "result.json"
    variables = {
        **name_weights(),
        "GRAFT_NAME": "bench",
        "GRAFT_DATASET_URI": f"s3://{BUCKET}/nights",
        "GRAFT_OUTPUT_URI": f"s3://{BUCKET}/models",
        "GRAFT_CACHE_DIR": str(folder / "cache"),
        "GRAFT_BACKBONE_NAME": "EfficientNetLite0",
        "GRAFT_BACKBONE_IMAGE_SIZE": str(SIDE),
        "GRAFT_TRANSFER_MODE": "none",
        "GRAFT_TELEMETRY_PORT": "0",
        "GRAFT_RESULT_PATH": str(result),
    }
    sample = time_command((*GRAFT, "run"), variables)
    return FirstNight(
        variables=variables,
        sample=sample,
        seconds=json.loads(result.read_text())["seconds"],
        new=[paths[part::100] for part in range(NEW_PARTS)],
        pictures=pictures,
    )


def _upload(folder: Path, paths: list[Path]) -> None:
    """Put pictures into the bucket under their names in the folder."""
    import boto3

    client = boto3.client("s3")

    def put(path: Path) -> None:
        key = f"nights/{path.relative_to(folder)}"
        client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, paths))

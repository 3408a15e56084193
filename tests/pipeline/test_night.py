"""A night with a few new images: it computes these alone, and releases what a cold run does."""

import json
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pipeline.conftest import ONE_FORMAT, Ended, draw, files_of, graft, graft_until

pytestmark = pytest.mark.runs

# They hold times.
WITH_TIMES = ("manifest.json", "logs/")


@dataclass(frozen=True)
class Night:
    """A night that was interrupted and went on, and the same night on a machine without a cache."""

    interrupted: Ended
    warm: Ended
    cold: Ended
    cache: Path
    scratch: Path


@pytest.fixture(scope="session")
def night(tiny: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Night:
    folder = tmp_path_factory.mktemp("night")
    draw(folder / "pictures", per_class=60, seed=3)
    (folder / "tmp").mkdir()
    settings = tiny | ONE_FORMAT
    settings |= {
        "GRAFT_HEAD_UNITS": "0",
        "GRAFT_DATASET_URI": (folder / "pictures").as_uri(),
        "GRAFT_OUTPUT_URI": (folder / "warm").as_uri(),
        "GRAFT_CACHE_DIR": str(folder / "cache"),
        "TMPDIR": str(folder / "tmp"),
    }
    assert graft("run", **settings).result["promoted"]
    shutil.copytree(folder / "warm", folder / "cold")
    draw(folder / "pictures", per_class=4, seed=4)
    elsewhere = {
        "GRAFT_OUTPUT_URI": (folder / "cold").as_uri(),
        "GRAFT_CACHE_DIR": str(folder / "other-cache"),
    }
    # The exporting process was started before that.
    interrupted = graft_until(
        "training begins", lambda process: process.send_signal(signal.SIGTERM), **settings
    )
    return Night(
        interrupted=interrupted,
        warm=graft("run", **settings),
        cold=graft("run", **settings | elsewhere),
        cache=folder / "cache",
        scratch=folder / "tmp",
    )


def test_a_night_that_was_interrupted_releases_the_bytes_of_a_cold_one(night: Night) -> None:
    assert (night.interrupted.code, night.interrupted.result["status"]) == (75, "interrupted")
    assert (night.warm.code, night.cold.code) == (0, 0)
    warm, cold = _read_promised(night.warm), _read_promised(night.cold)
    assert warm.keys() == cold.keys()
    for name in warm:
        assert warm[name] == cold[name], name
    # The exporting process of the interrupted night worked there.
    assert list(night.scratch.glob(".exports-*")) == []


def test_a_night_decides_by_kept_features_as_a_cold_one_decides(night: Night) -> None:
    def read_promotion(ended: Ended) -> dict[str, Any]:
        return json.loads(files_of(ended.result["release"])["manifest.json"])["promotion"]

    promotion = read_promotion(night.warm)
    assert promotion == read_promotion(night.cold)
    assert promotion["comparison"]["images"] > 0
    # The champion has the same frozen backbone: no image ran through its SavedModel.
    assert not (night.cache / "predictions").exists()


def test_a_night_computes_the_features_of_its_new_images_alone(night: Night) -> None:
    passes: dict[Path, list[int]] = {}
    for shard in (night.cache / "features").rglob("*.npy"):
        passes.setdefault(shard.parent, []).append(len(np.load(shard)))
    # The other folder has the feature maps of the mistakes.
    assert sorted(max(passes.values(), key=sum)) == [12, 180]


def _read_promised(ended: Ended) -> dict[str, bytes]:
    """The files of a release whose bytes are promised."""
    files = files_of(ended.result["release"])
    return {name: files[name] for name in files if not name.startswith(WITH_TIMES)}

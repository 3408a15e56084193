"""The feature cache: equal bytes warm and cold, named by what decides them, whole or absent."""

import errno
import os
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from job import telemetry
from job.audit import Example, Splits
from job.batches import Feed
from job.errors import SettingsError
from job.features import FeatureCache, FrozenNetwork, open_feature_cache
from job.files import count_disk_bytes
from job.settings import CacheSettings

SIZE = 16
Caching = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> Feed:
    folder, noise = tmp_path_factory.mktemp("pictures"), np.random.default_rng(2)

    def draw(number: int) -> Example:
        path = folder / f"{number}.png"
        Image.fromarray(noise.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(path)
        digest = sha256(path.read_bytes()).hexdigest()
        return Example(path=path, name=path.name, label=number % 2, sha256=digest, format="PNG")

    images = tuple(draw(number) for number in range(40))
    splits = Splits(
        classes=("a", "b"),
        train=images,
        val=images[:3],
        test=images[3:5],
        near_duplicates=(),
        leaks=(),
        given=False,
    )
    return Feed(
        splits=splits,
        image_size=SIZE,
        image_fit="letterbox",
        batch_size=4,
        seed=3,
        augmentation="none",
        label_smoothing=0.0,
        class_weights="none",
    )


def network(policy: str = "float32") -> Any:
    images = keras.Input((SIZE, SIZE, 3))
    kernel = keras.initializers.GlorotUniform(1)
    return keras.Model(
        images,
        keras.layers.Conv2D(4, 3, strides=4, kernel_initializer=kernel, dtype=policy)(images),
    )


@pytest.fixture
def cached(tmp_path: Path, feed: Feed) -> Caching:
    def cache(trunk: Any = None, key: str = "key", batches: Feed = feed, n: int = 40) -> np.ndarray:
        frozen = FrozenNetwork(trunk or network(), key)
        kept = FeatureCache(tmp_path / "features", 10**9)
        rows = kept.load(frozen, batches, feed.splits.train[:n], telemetry.silent())
        assert rows.shape == (n, 4, 4, 4)
        assert len(rows) == n
        return rows[:]

    return cache


def shards(folder: Path) -> list[Path]:
    return sorted((folder / "features").rglob("*.npy"))


def test_the_cache_holds_what_the_network_gives_in_the_order_of_the_examples(
    cached: Caching, feed: Feed
) -> None:
    pixels = np.concatenate([batch.numpy() for batch in feed.load_images(feed.splits.train)])[:40]
    rows = cached()
    assert rows.shape == (40, 4, 4, 4)
    np.testing.assert_allclose(rows, network()(pixels).numpy(), atol=1e-3)


def test_warm_and_cold_are_equal_bytes_and_warm_computes_nothing(
    cached: Caching, tmp_path: Path
) -> None:
    cold = cached()
    (file,) = shards(tmp_path)
    written = file.stat().st_mtime_ns
    assert np.array_equal(cached(), cold)
    assert file.stat().st_mtime_ns == written
    file.with_suffix(".txt").unlink()
    assert np.array_equal(cached(), cold)


def test_a_new_image_costs_its_own_activations_alone(
    cached: Caching, feed: Feed, tmp_path: Path
) -> None:
    cached(n=36)
    (first,) = shards(tmp_path)
    rows = cached(n=40)
    (second,) = set(shards(tmp_path)) - {first}
    assert len(np.load(second)) == 4
    for shard in (first, second):
        shard.with_suffix(".txt").unlink()
    assert np.array_equal(rows, cached(n=40))


def test_the_activations_of_an_image_are_found_wherever_it_stands(
    feed: Feed, tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path / "features", 10**9)
    frozen = FrozenNetwork(network(), "key")
    images = feed.splits.train
    rows = cache.load(frozen, feed, images[:30], telemetry.silent())[:]
    mixed = (images[35], images[3], images[31], images[3])
    found = cache.load(frozen, feed, mixed, telemetry.silent())
    assert np.array_equal(found[np.array([1, 3])], rows[[3, 3]])
    assert np.array_equal(found[2:], found[:][2:])
    assert found[np.array([], int)].shape == (0, 4, 4, 4)


def test_a_pass_that_is_cut_off_keeps_its_complete_shards(
    feed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("job.features.SHARD_IMAGES", 16)
    missing = replace(feed.splits.train[-1], path=tmp_path / "gone.png", sha256="0" * 64)
    examples = (*feed.splits.train[:35], missing)
    cache = FeatureCache(tmp_path / "features", 10**9)
    with pytest.raises(tf.errors.NotFoundError):
        cache.load(FrozenNetwork(network(), "key"), feed, examples, telemetry.silent())
    assert [len(np.load(shard)) for shard in shards(tmp_path)] == [16, 16]


def test_an_image_has_the_same_bytes_whatever_images_come_with_it(cached: Caching) -> None:
    assert np.array_equal(cached(n=7), cached(n=40)[:7])


def test_each_thing_that_decides_the_bytes_has_a_folder_of_its_own(
    cached: Caching, feed: Feed, tmp_path: Path
) -> None:
    cached()
    cached(key="other")
    cached(batches=replace(feed, image_fit="crop"))
    assert len({shard.parent for shard in shards(tmp_path)}) == 3


def test_the_feed_of_the_training_does_not_matter_to_it(
    cached: Caching, feed: Feed, tmp_path: Path
) -> None:
    cached()
    cached(batches=replace(feed, batch_size=9, seed=8, augmentation="light", label_smoothing=0.1))
    assert len(shards(tmp_path)) == 1


def test_bfloat16_is_kept_as_it_is(cached: Caching) -> None:
    trunk = network("mixed_bfloat16")
    rows = cached(trunk)
    assert rows.dtype == tf.bfloat16.as_numpy_dtype
    assert FrozenNetwork(trunk, "key").count_bytes(40) == rows.nbytes == 40 * 64 * 2
    assert np.array_equal(rows, cached(trunk))


def test_a_run_that_dies_on_the_way_leaves_nothing(feed: Feed, tmp_path: Path) -> None:
    missing = replace(feed.splits.train[-1], path=tmp_path / "gone.png")
    examples = (*feed.splits.train[:35], missing)
    kept = FeatureCache(tmp_path / "features", 10**9)
    with pytest.raises(tf.errors.NotFoundError):
        kept.load(FrozenNetwork(network(), "key"), feed, examples, telemetry.silent())
    assert shards(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_an_error_with_a_cure(
    cached: Caching, tmp_path: Path
) -> None:
    (tmp_path / "features").write_text("a file is in the way")
    with pytest.raises(SettingsError, match="cannot be kept") as caught:
        cached()
    assert "GRAFT_CACHE_DIR" in caught.value.cure


def test_a_full_disk_is_an_error_with_a_cure_and_leaves_nothing(
    cached: Caching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SettingsError, match="No space left on device"):
        cached()
    assert shards(tmp_path) == []


def test_features_that_nobody_has_used_for_a_week_make_room_for_others(
    cached: Caching, feed: Feed, tmp_path: Path
) -> None:
    folders: list[Path] = []
    for key in ("oldest", "old", "new"):
        cached(key=key)
        (folder,) = {shard.parent for shard in shards(tmp_path)} - {*folders}
        folders.append(folder)
    oldest, old, new = folders
    for folder, days in ((oldest, 9), (old, 8), (new, 6)):
        then = time.time() - days * 24 * 3600
        os.utime(folder, (then, then))
    # Three folders fit, and not a fourth one.
    cache = FeatureCache(tmp_path / "features", 3 * count_disk_bytes(new))
    frozen = FrozenNetwork(network(), "another")
    assert cache.fits(frozen, feed)
    cache.load(frozen, feed, feed.splits.train, telemetry.silent())
    assert (oldest.exists(), old.exists(), new.exists()) == (False, True, True)


def test_features_in_use_are_never_removed_and_leave_no_room(
    cached: Caching, feed: Feed, tmp_path: Path
) -> None:
    cached()
    (shard,) = shards(tmp_path)
    then = time.time() - 9 * 24 * 3600
    os.utime(shard.parent, (then, then))
    cached()  # uses them again
    cache = FeatureCache(tmp_path / "features", count_disk_bytes(shard.parent))
    assert not cache.fits(FrozenNetwork(network(), "other"), feed)
    assert cache.fits(FrozenNetwork(network(), "key"), feed)
    cached(key="other")
    assert shard.exists()


def test_features_may_take_half_of_what_images_leave(cached: Caching, tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects/image").write_bytes(bytes(100 * 4096))
    cached()
    limited = CacheSettings(dir=tmp_path, limit=300 * 4096)
    assert open_feature_cache(limited).limit == 100 * 4096
    assert open_feature_cache(CacheSettings(dir=tmp_path, limit=50 * 4096)).limit == 0
    assert open_feature_cache(CacheSettings(dir=tmp_path)).limit > 100 * 4096

"""What the tests of training share: drawn pictures in three classes, and a classifier small enough for a second."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from job import storage, telemetry
from job.audit import Example, Splits
from job.batches import Feed
from job.checkpoint import CheckpointStore
from job.model import Cut
from job.settings import GateSettings, TrainingSettings
from job.training import FeatureCache, TrainingContext
from job.workers import Stop, Workers

SIZE = 16
COLOURS = ((200, 40, 40), (40, 160, 60), (50, 70, 210))


@dataclass
class Toy:
    """A classifier like those of `model.build`: one convolution, BatchNorm that is alive, dropout."""

    model: Any
    backbone: Any
    pool: Any
    head: Any
    cuts: tuple[Cut, ...]
    pooling: str = "avg"

    def trunk(self, cut: Cut) -> Any:
        return keras.Model(self.backbone.input, self.backbone.get_layer(cut.name).output)

    def top(self, cut: Cut) -> Any:
        return keras.Model(self.backbone.get_layer(cut.name).output, self.backbone.output)


def build_toy(
    seed: int = 0, dropout: float = 0.0, units: int = 0, head_dtype: str | None = None
) -> Toy:
    keras.utils.set_random_seed(seed)
    images = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 255)(images)
    x = cut = keras.layers.Conv2D(8, 3, strides=2, padding="same", name="low")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="high")(x)
    backbone = keras.Model(images, x)
    backbone.get_layer("norm").moving_mean.assign(np.linspace(-1, 1, 8))
    backbone.get_layer("norm").moving_variance.assign(np.linspace(0.5, 2, 8))
    maps = keras.Input(x.shape[1:], dtype=x.dtype)
    pool = keras.Model(maps, keras.layers.GlobalAveragePooling2D(dtype=head_dtype)(maps))
    features = keras.Input((8,), dtype=pool.output.dtype)
    y = keras.layers.Dropout(dropout, seed=seed)(features) if dropout else features
    y = keras.layers.Dense(units, "relu")(y) if units else y
    head = keras.Model(features, keras.layers.Dense(3, dtype=head_dtype, name="logits")(y))
    model = keras.Model(images, keras.layers.Softmax()(head(pool(backbone(images)))))
    side = SIZE // 2
    below = backbone.get_layer("low").count_params()
    above = backbone.count_params() - below
    return Toy(
        model, backbone, pool, head, (Cut("low", 2, tuple(cut.shape[1:]), below, above, side, cut),)
    )


@pytest.fixture
def toy() -> Callable[..., Toy]:
    return build_toy


def draw_splits(folder: Path) -> Splits:
    """Noisy pictures of three colours: 30 to train, 9 to validate, 9 to test."""
    noise = np.random.default_rng(7)

    def draw(part: str, number: int) -> Example:
        label = number % 3
        pixels = np.clip(
            np.array(COLOURS[label]) + noise.normal(0, 60, (20, 20, 3)), 0, 255
        ).astype(np.uint8)
        path = folder / f"{part}-{number}.png"
        Image.fromarray(pixels).save(path)
        return Example(path, path.name, label, sha256(path.read_bytes()).hexdigest())

    train, val, test = (
        tuple(draw(part, i) for i in range(n))
        for part, n in (("train", 30), ("val", 9), ("test", 9))
    )
    return Splits(
        ("red", "green", "blue"), train, val, test, near_duplicates=(), leaks=(), given=False
    )


@pytest.fixture(scope="session")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return draw_splits(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def feed(splits: Splits) -> Callable[..., Feed]:
    def make(**changes: Any) -> Feed:
        values: dict[str, Any] = {
            "batch_size": 8,
            "augmentation": "none",
            "label_smoothing": 0.0,
            "class_weights": "none",
        } | changes
        return Feed(splits, SIZE, "letterbox", seed=3, **values)

    return make


@pytest.fixture
def context(tmp_path: Path) -> Callable[..., TrainingContext]:
    """Everything context training, over a folder as the bucket."""

    def make(
        stop: Stop | None = None, precision: str = "float32", interval: float = 1e9, **changes: Any
    ) -> TrainingContext:
        checkpoints = CheckpointStore(
            tmp_path / "local",
            storage.connect(tmp_path.as_uri()).child("runs/one/checkpoints"),
            interval,
        )
        settings = TrainingSettings(
            **({"epochs": 3, "batch_size": 8, "learning_rate": 0.01, "patience": 0} | changes)
        )
        team = Workers(
            strategy=tf.distribute.get_strategy(),
            replicas=1,
            devices=("CPU:0",),
            bfloat16=False,
            fingerprint="this machine",
        )
        return TrainingContext(
            settings,
            GateSettings(),
            team,
            precision,
            checkpoints,
            telemetry.silent(),
            stop or Stop(),
        )

    return make


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "features", "toy", 10**9)


@pytest.fixture(autouse=True, scope="session")
def _deterministic() -> None:
    tf.config.experimental.enable_op_determinism()

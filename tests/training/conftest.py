"""What the tests of training share: drawn pictures in three classes, and a small classifier."""

from collections.abc import Callable
from functools import partial
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
from job.features import FeatureCache
from job.model import Classifier, ClassifierSpec
from job.model.cuts import find_cuts
from job.settings import (
    BackboneSettings,
    GateSettings,
    HeadSettings,
    Pooling,
    TrainingSettings,
    TransferMode,
)
from job.training import TrainingContext
from job.transfer import Plan, Stage
from job.workers import Stop, Workers

SIZE = 16
CLASSES = ("red", "green", "blue")
COLOURS = ((200, 40, 40), (40, 160, 60), (50, 70, 210))


def build_classifier(
    seed: int = 0,
    *,
    dropout: float = 0.0,
    units: int = 0,
    head_dtype: str | None = None,
    pooling: Pooling = "avg",
) -> Classifier:
    """A classifier that trains in a second: two convolutions, BatchNorm with real statistics."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    images = keras.Input((SIZE, SIZE, 3))
    x = layers.Rescaling(1 / 255)(images)
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="low")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="high")(x)
    backbone = keras.Model(images, x)
    backbone.get_layer("norm").moving_mean.assign(np.linspace(-1, 1, 8))
    backbone.get_layer("norm").moving_variance.assign(np.linspace(0.5, 2, 8))

    maps = keras.Input(x.shape[1:], dtype=x.dtype)
    kind = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}[pooling]
    pool = keras.Model(maps, kind(dtype=head_dtype)(maps))
    features = keras.Input((8,), dtype=pool.output.dtype)
    y = layers.Dropout(dropout, seed=seed)(features) if dropout else features
    y = layers.Dense(units, "relu")(y) if units else y
    head = keras.Model(features, layers.Dense(3, dtype=head_dtype, name="logits")(y))
    spec = ClassifierSpec(
        backbone=BackboneSettings(),
        head=HeadSettings(pooling=pooling, units=units, dropout=dropout),
        classes=CLASSES,
        seed=seed,
    )
    return Classifier(
        model=keras.Model(images, layers.Softmax()(head(pool(backbone(images))))),
        backbone=backbone,
        pool=pool,
        features=keras.Model(backbone.input, pool(backbone.output)),
        head=head,
        cuts=find_cuts(backbone),
        image_size=SIZE,
        spec=spec,
        initial_weights=f"small {seed}",
    )


def build_plan(
    mode: TransferMode, classifier: Classifier, *, probe: bool = True, solved: bool = True
) -> Plan:
    """A plan of one stage or two. The cut is behind the first convolution."""
    stages: tuple[Stage, ...] = (Stage("probe", "none", 1.0, solved),) if probe else ()
    if mode != "none":
        stages += (Stage("tune", mode, 0.1 if probe else 1.0, False),)
    return Plan(
        mode=mode,
        pooling=classifier.spec.head.pooling,
        reason="asked",
        rule="setting",
        cut=classifier.cuts[0] if mode == "part" else None,
        stages=stages,
        trainable=0,
        total=0,
    )


def draw_splits(folder: Path) -> Splits:
    """Noisy pictures of three colours: 30 to train, 9 to validate, 9 to test."""
    noise = np.random.default_rng(7)

    def draw(part: str, number: int) -> Example:
        label = number % 3
        grain = noise.normal(0, 60, (20, 20, 3))
        pixels = np.clip(np.array(COLOURS[label]) + grain, 0, 255).astype(np.uint8)
        path = folder / f"{part}-{number}.png"
        Image.fromarray(pixels).save(path)
        digest = sha256(path.read_bytes()).hexdigest()
        return Example(path=path, name=path.name, label=label, sha256=digest, format="PNG")

    train, val, test = (
        tuple(draw(part, i) for i in range(n))
        for part, n in (("train", 30), ("val", 9), ("test", 9))
    )
    return Splits(
        classes=("red", "green", "blue"),
        train=train,
        val=val,
        test=test,
        near_duplicates=(),
        leaks=(),
        given=False,
    )


@pytest.fixture(scope="session")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return draw_splits(tmp_path_factory.mktemp("pictures"))


def build_feed(splits: Splits, **changes: Any) -> Feed:
    """The pictures in batches of 8."""
    values: dict[str, Any] = {
        "splits": splits,
        "image_size": SIZE,
        "image_fit": "letterbox",
        "batch_size": 8,
        "seed": 3,
        "augmentation": "none",
        "label_smoothing": 0.0,
        "class_weights": "none",
    }
    return Feed(**values | changes)


def build_context(
    folder: Path,
    *,
    stop: Stop | None = None,
    precision: str = "float32",
    interval: float = 1e9,
    cache_limit: int = 10**9,
    **changes: Any,
) -> TrainingContext:
    """Everything around training, over a folder as the bucket."""
    settings = {"epochs": 3, "batch_size": 8, "learning_rate": 0.01, "patience": 0} | changes
    return TrainingContext(
        settings=TrainingSettings(**settings),
        gate=GateSettings(),
        workers=Workers(
            strategy=tf.distribute.get_strategy(),
            replicas=1,
            devices=("CPU:0",),
            bfloat16=False,
            fingerprint="this machine",
        ),
        precision=precision,
        checkpoints=CheckpointStore(
            folder=folder / "local",
            store=storage.connect(folder.as_uri()).child("runs/one/checkpoints"),
            interval_seconds=interval,
        ),
        cache=FeatureCache(folder / "features", cache_limit),
        telemetry=telemetry.silent(),
        stop=stop or Stop(),
    )


@pytest.fixture
def feed(splits: Splits) -> Callable[..., Feed]:
    return partial(build_feed, splits)


@pytest.fixture
def context(tmp_path: Path) -> Callable[..., TrainingContext]:
    return partial(build_context, tmp_path)


@pytest.fixture(autouse=True, scope="session")
def _deterministic() -> None:
    tf.config.experimental.enable_op_determinism()

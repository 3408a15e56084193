"""The solved probe against the Keras guide, and a cached epoch against a live one.

Both on the real photographs.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIDE, EPOCHS = 128, 20


def photographs(folder: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Both comparisons; TensorFlow is imported here, after what is timed from `exec` on."""
    from job import workers
    from job.settings import DevicesSettings

    workers.join(DevicesSettings())
    classifier, feed = _build_classifier(folder)
    return {
        "solved probe": _compare_probe(classifier, feed, folder),
        "cached epoch": _compare_epoch(classifier, feed, folder, repeats),
    }


def _build_classifier(folder: Path) -> tuple[Any, Any]:
    import os

    from job import audit, dataset, model, telemetry, weights
    from job.batches import Feed
    from job.catalogue import BACKBONES
    from job.settings import BackboneSettings, CacheSettings, DatasetSettings, HeadSettings
    from tools import photographs as source

    quiet, images = telemetry.silent(), DatasetSettings(uri=source.ensure_photographs().as_uri())
    data = dataset.fetch(dataset.survey(images), images, CacheSettings(dir=folder), quiet)
    splits = audit.split(audit.inspect(data, images.broken_share, folder / "audit", quiet))
    settings = BackboneSettings(name="EfficientNetLite0", image_size=SIDE)
    home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    found = weights.locate(settings, BACKBONES[settings.name], folder, home)
    classifier = model.build(settings, HeadSettings(), splits.classes, found, 0)
    return classifier, Feed(splits, SIDE, "letterbox", 32, 0, "none", 0.0, "none")


def _compare_probe(classifier: Any, feed: Any, folder: Path) -> dict[str, float]:
    """Once each: seconds and test accuracy. Ours decodes; the rival's pixels are ready."""
    import keras

    from job.batches import label_array

    truth = {part: label_array(getattr(feed.splits, part)) for part in ("train", "test")}
    pixels = {
        part: np.concatenate([batch.numpy() for batch in feed.plain(getattr(feed.splits, part))])[
            : len(labels)
        ]
        for part, labels in truth.items()
    }
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.GlobalAveragePooling2D()(classifier.backbone(inputs, training=False))
    outputs = keras.layers.Dense(len(feed.splits.classes), activation="softmax")(
        keras.layers.Dropout(0.2)(x)
    )
    guide = keras.Model(inputs, outputs)
    classifier.backbone.trainable = False
    guide.compile(
        keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    rival = _time_work(lambda: guide.fit(pixels["train"], truth["train"], 32, EPOCHS, verbose=0))
    rival_accuracy = float(
        (guide.predict(pixels["test"], verbose=0).argmax(1) == truth["test"]).mean()
    )
    classifier.backbone.trainable = True
    ours = _time_work(lambda: _solve_head(classifier, feed, folder))
    accuracy = _measure_accuracy(classifier, feed)
    return {
        "ours_s": ours, "rival_s": rival, "ratio": ours / rival,
        "ours_accuracy": accuracy, "rival_accuracy": rival_accuracy,
    }  # fmt: skip


def _solve_head(classifier: Any, feed: Any, folder: Path) -> None:
    """The product's own `none`: features and a solved head, from images to weights."""
    import tensorflow as tf

    from job import storage, telemetry, training, transfer
    from job.checkpoint import CheckpointStore
    from job.settings import GateSettings, TrainingSettings, TransferSettings
    from job.training import FeatureCache, TrainingContext
    from job.workers import Stop, Workers

    (folder / "bucket").mkdir()
    checkpoints = CheckpointStore(
        folder / "checkpoints", storage.connect((folder / "bucket").as_uri()), 1e9
    )
    team = Workers(
        strategy=tf.distribute.get_strategy(),
        replicas=1,
        devices=("CPU:0",),
        bfloat16=False,
        fingerprint="bench",
    )
    context = TrainingContext(
        TrainingSettings(), GateSettings(), team, "float32", checkpoints, telemetry.silent(), Stop()
    )
    plan = transfer.choose(TransferSettings(mode="none"), classifier, feed.splits)
    training.fit(
        classifier, plan, feed, context, FeatureCache(folder / "features", "context", 10**10)
    )


def _measure_accuracy(classifier: Any, feed: Any) -> float:
    from job import training
    from job.batches import label_array

    return training.score(
        "accuracy",
        label_array(feed.splits.test),
        training.predict(classifier, feed, feed.splits.test),
    )


def _compare_epoch(classifier: Any, feed: Any, folder: Path, repeats: int) -> dict[str, float]:
    """An epoch of `part` over kept activations, against one that runs the frozen layers again."""
    import tensorflow as tf

    from job import features, telemetry, transfer
    from job.settings import TransferSettings
    from tools.bench.bench import against

    plan = transfer.choose(TransferSettings(mode="part"), classifier, feed.splits)
    trunk, top = classifier.trunk(plan.cut), classifier.top(plan.cut)
    rows = features.cache(
        trunk, feed, feed.splits.train, "context part", folder / "features", telemetry.silent()
    )
    variables = [
        variable.value for variable in transfer.trained_variables(classifier, "part", plan.cut)
    ]

    def gradient(activations: Any, targets: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = classifier.head(
                classifier.pool(top(activations, training=False)), training=False
            )
            loss = tf.reduce_sum(weights * tf.nn.softmax_cross_entropy_with_logits(targets, logits))
        return tape.gradient(loss, variables)

    def live(images: Any, *rest: Any) -> Any:
        return gradient(tf.stop_gradient(trunk(images, training=False)), *rest)

    def epoch(step: Callable[..., Any], kept: np.ndarray | None) -> Callable[[], float]:
        return lambda: _time_work(lambda: [step(*batch) for batch in feed.train(0, 0, kept)])

    ours, rival = epoch(tf.function(gradient), rows), epoch(tf.function(live), None)
    ours(), rival()
    return against(repeats, ours, rival)


def _time_work(work: Callable[[], Any]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started

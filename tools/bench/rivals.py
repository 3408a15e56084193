"""The solved probe against the Keras guide, and a cached epoch against a live one.

Both on the real photographs.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from job.batches import Rows

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
    spec = model.ClassifierSpec(
        backbone=settings, head=HeadSettings(), classes=splits.classes, seed=0
    )
    feed = Feed(
        splits=splits,
        image_size=SIDE,
        image_fit="letterbox",
        batch_size=32,
        seed=0,
        augmentation="none",
        label_smoothing=0.0,
        class_weights="none",
    )
    return model.build(spec, found), feed


def _compare_probe(classifier: Any, feed: Any, folder: Path) -> dict[str, float]:
    """Once each: seconds and test accuracy. Ours decodes; the rival's pixels are ready."""
    import keras

    from job.batches import collect_labels

    truth = {part: collect_labels(getattr(feed.splits, part)) for part in ("train", "test")}
    pixels = {}
    for part, labels in truth.items():
        batches = feed.load_images(getattr(feed.splits, part))
        pixels[part] = np.concatenate([batch.numpy() for batch in batches])[: len(labels)]
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
    from job.features import FeatureCache
    from job.settings import GateSettings, TrainingSettings, TransferSettings
    from job.training import TrainingContext
    from job.workers import Stop, Workers

    (folder / "bucket").mkdir()
    context = TrainingContext(
        settings=TrainingSettings(),
        gate=GateSettings(),
        workers=Workers(
            strategy=tf.distribute.get_strategy(),
            replicas=1,
            devices=("CPU:0",),
            bfloat16=False,
            fingerprint="bench",
        ),
        precision="float32",
        checkpoints=CheckpointStore(
            folder=folder / "checkpoints",
            store=storage.connect((folder / "bucket").as_uri()),
            interval_seconds=1e9,
        ),
        cache=FeatureCache(folder / "features", 10**10),
        telemetry=telemetry.silent(),
        stop=Stop(),
    )
    choice = transfer.Choice("none", None, "This is what is measured.", "setting")
    plan = transfer.make_plan(TransferSettings(mode="none"), classifier, choice)
    training.fit(classifier, plan, feed, context)


def _measure_accuracy(classifier: Any, feed: Any) -> float:
    from job import training
    from job.batches import collect_labels
    from job.scores import score

    return score(
        "accuracy",
        collect_labels(feed.splits.test),
        training.predict(classifier, feed, feed.splits.test),
    )


def _compare_epoch(classifier: Any, feed: Any, folder: Path, repeats: int) -> dict[str, float]:
    """An epoch of `part` over kept activations, against one that runs the frozen layers again."""
    import tensorflow as tf

    from job import telemetry, transfer
    from job.features import FeatureCache, FrozenNetwork
    from job.settings import TransferSettings
    from tools.bench.bench import against

    cut = transfer.choose_cut(classifier.cuts, TransferSettings().stages)
    trunk, top = classifier.trunk(cut), classifier.top(cut)
    cache = FeatureCache(folder / "features", 10**10)
    frozen = FrozenNetwork(trunk, "context part")
    rows = cache.load(frozen, feed, feed.splits.train, telemetry.silent())
    variables = [variable.value for variable in transfer.select_variables(classifier, "part", cut)]

    def gradient(activations: Any, targets: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = classifier.head(
                classifier.pool(top(activations, training=False)), training=False
            )
            loss = tf.reduce_sum(weights * tf.nn.softmax_cross_entropy_with_logits(targets, logits))
        return tape.gradient(loss, variables)

    def live(images: Any, *rest: Any) -> Any:
        return gradient(tf.stop_gradient(trunk(images, training=False)), *rest)

    def epoch(step: Callable[..., Any], kept: "Rows | None") -> Callable[[], float]:
        def train() -> None:
            for batch in feed.load_epochs(0, 0, kept).take(feed.steps):
                step(*batch)

        return lambda: _time_work(train)

    ours, rival = epoch(tf.function(gradient), rows), epoch(tf.function(live), None)
    ours(), rival()
    return against(repeats, ours, rival)


def _time_work(work: Callable[[], Any]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started

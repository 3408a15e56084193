"""The solved head, kept activations, and what it costs to be watched and to be safe.

All on the real photographs. TensorFlow is imported late, after what is timed from `exec` on.
"""

import functools
import itertools
import tempfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tools import photographs
from tools.bench.measuring import Sample, Sides, Workplace, join_devices, time_work
from tools.bench.pictures import draw_pictures

if TYPE_CHECKING:
    from job.batches import Feed, Rows
    from job.model import Classifier
    from job.telemetry import RunTelemetry
    from job.training import StageTrainer, TrainingContext, TrainingSession

SIDE, BATCH = 128, 32
GUIDE_EPOCHS = 20
FULL_PICTURES = 1_000


@dataclass(frozen=True, slots=True)
class Trainee:
    """A classifier with ImageNet weights, and the photographs, which are kept in a folder."""

    classifier: "Classifier"
    feed: "Feed"
    folder: tempfile.TemporaryDirectory[str]


def prepare_frozen_stage(place: Workplace) -> Sides:
    """The product's own `none`, from images to a head, beside a Dense layer of the Keras guide.

    Ours decodes the images and solves. The rival's pixels are ready.
    """
    import keras

    from job import training
    from job.batches import collect_labels
    from job.scores import score

    pictures = None if place.quick else draw_pictures(place.folder / "pictures", FULL_PICTURES)
    trainee = _load_trainee(pictures)
    classifier, feed = trainee.classifier, trainee.feed
    truth = {part: collect_labels(getattr(feed.splits, part)) for part in ("train", "test")}
    pixels = {}
    for part, labels in truth.items():
        batches = feed.load_images(getattr(feed.splits, part))
        pixels[part] = np.concatenate([batch.numpy() for batch in batches])[: len(labels)]
    notes = {"training images": float(len(feed.splits.train))}
    numbers = itertools.count()

    def ours() -> Sample:
        folder = place.folder / f"solved-{next(numbers)}"  # with nothing kept
        sample = time_work(lambda: _fit_head(trainee, folder))
        logits = training.predict(classifier, feed, feed.splits.test)
        notes["accuracy"] = score("accuracy", truth["test"], logits)
        return sample

    def rival() -> Sample:
        classifier.backbone.trainable = False
        inputs = keras.Input((SIDE, SIDE, 3))
        x = keras.layers.GlobalAveragePooling2D()(classifier.backbone(inputs, training=False))
        x = keras.layers.Dropout(0.2)(x)
        outputs = keras.layers.Dense(len(feed.splits.classes), activation="softmax")(x)
        guide = keras.Model(inputs, outputs)
        optimizer = keras.optimizers.Adam(1e-3)
        guide.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        sample = time_work(
            lambda: guide.fit(pixels["train"], truth["train"], BATCH, GUIDE_EPOCHS, verbose=0)
        )
        answers = guide.predict(pixels["test"], verbose=0).argmax(1)
        notes["rival's accuracy"] = float((answers == truth["test"]).mean())
        classifier.backbone.trainable = True
        return sample

    return Sides(ours, rival, notes)


def prepare_kept_epoch(place: Workplace) -> Sides:
    """An epoch of `part` over kept activations, beside one that runs the frozen layers again."""
    import tensorflow as tf

    from job import telemetry, transfer
    from job.features import FeatureCache, FrozenNetwork
    from job.settings import TransferSettings

    trainee = _load_trainee()
    classifier, feed = trainee.classifier, trainee.feed
    cut = transfer.choose_cut(classifier.cuts, TransferSettings().stages)
    trunk, top = classifier.trunk(cut), classifier.top(cut)
    frozen = FrozenNetwork(trunk, "part")
    cache = FeatureCache(place.folder / "features", 10**10)
    rows = cache.load(frozen, feed, feed.splits.train, telemetry.silent())
    variables = [variable.value for variable in transfer.select_variables(classifier, "part", cut)]

    def gradient(activations: Any, targets: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            pooled = classifier.pool(top(activations, training=False))
            logits = classifier.head(pooled, training=False)
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
            loss = tf.reduce_sum(weights * losses)
        return tape.gradient(loss, variables)

    def live(images: Any, *rest: Any) -> Any:
        return gradient(tf.stop_gradient(trunk(images, training=False)), *rest)

    def epoch(step: Callable[..., Any], kept: "Rows | None") -> Callable[[], Sample]:
        def train() -> None:
            for batch in feed.load_epochs(0, 0, kept).take(feed.steps):
                step(*batch)

        train()  # traces
        return functools.partial(time_work, train)

    return Sides(epoch(tf.function(gradient), rows), epoch(tf.function(live), None))


def prepare_watched_step(place: Workplace) -> Sides:
    """Epochs that are served and scraped, beside the same epochs in silence.

    Metrics are scraped once an epoch, which is more often than Prometheus does it. The time of one
    checkpoint is added by the share of its interval that the epochs take.
    """
    from job.settings import CheckpointSettings
    from job.telemetry import silent

    epochs = 1 if place.quick else 6
    telemetry = _serve_anywhere()
    place.stack.callback(telemetry.close)
    assert telemetry.server
    address = f"http://127.0.0.1:{telemetry.server.port}/metrics"
    # Asked before each step whether a state is due. None is, whatever the machine does between.
    watched, session = _start_training(place.folder / "watched", telemetry, 1e9)
    unwatched, silent_session = _start_training(place.folder / "silent", silent(), float("inf"))

    def train_watched() -> None:
        for _ in range(epochs):
            watched.train(session, session.progress.current.epoch + 1)
            with urllib.request.urlopen(address) as answer:
                answer.read()

    def train_silently() -> None:
        for _ in range(epochs):
            unwatched.train(silent_session, silent_session.progress.current.epoch + 1)

    def ours() -> Sample:
        steps = time_work(train_watched)
        save = time_work(lambda: session.save(watched.read_running()))
        share = steps.seconds / CheckpointSettings().interval_seconds
        return Sample(
            steps.seconds + share * save.seconds, steps.cpu_seconds + share * save.cpu_seconds
        )

    # The first time traces.
    train_watched()
    train_silently()
    notes = {"steps per turn": float(epochs * _load_trainee().feed.steps)}
    return Sides(ours, functools.partial(time_work, train_silently), notes)


def prepare_checkpoint(place: Workplace) -> Sides:
    """The interval between two states with the time that one takes, beside the interval alone.

    It is the largest state there is: everything is trained, with its optimizer and best weights.
    """
    from job.settings import CheckpointSettings
    from job.telemetry import silent

    interval = CheckpointSettings().interval_seconds
    trainer, session = _start_training(place.folder, silent(), interval)
    trainer.train(session, 1)
    notes: dict[str, float] = {}

    def ours() -> Sample:
        save = time_work(lambda: session.save(trainer.read_running()))
        notes["seconds of one checkpoint"] = save.seconds
        return Sample(interval + save.seconds, interval + save.cpu_seconds)

    return Sides(ours, lambda: Sample(interval, interval), notes)


@functools.cache
def _load_trainee(pictures: Path | None = None) -> Trainee:
    """A trainee on some pictures, or on the photographs."""
    from job import audit, dataset, model, telemetry, weights
    from job.batches import Feed
    from job.catalogue import BACKBONES
    from job.settings import BackboneSettings, CacheSettings, DatasetSettings, HeadSettings

    join_devices()
    quiet = telemetry.silent()
    folder_of_images = pictures or photographs.ensure_photographs()
    images = DatasetSettings(uri=folder_of_images.as_uri())
    temporary = tempfile.TemporaryDirectory(prefix="graft-bench-")
    folder = Path(temporary.name)
    data = dataset.fetch(dataset.survey(images), images, CacheSettings(dir=folder), quiet)
    splits = audit.split(audit.inspect(data, images.broken_share, folder / "audit", quiet))
    settings = BackboneSettings(name="EfficientNetLite0", image_size=SIDE)
    home = photographs.ensure_weights().parents[1]
    found = weights.locate(settings, BACKBONES[settings.name], folder, home)
    spec = model.ClassifierSpec(
        backbone=settings, head=HeadSettings(), classes=splits.classes, seed=0
    )
    feed = Feed(
        splits=splits,
        image_size=SIDE,
        image_fit="letterbox",
        batch_size=BATCH,
        seed=0,
        augmentation="none",
        label_smoothing=0.0,
        class_weights="none",
    )
    return Trainee(model.build(spec, found), feed, temporary)


def _make_context(
    folder: Path, telemetry: "RunTelemetry", interval_seconds: float
) -> "TrainingContext":
    import tensorflow as tf

    from job import storage
    from job.checkpoint import CheckpointStore
    from job.features import FeatureCache
    from job.settings import GateSettings, TrainingSettings
    from job.training import TrainingContext
    from job.workers import Stop, Workers

    (folder / "bucket").mkdir(parents=True)
    return TrainingContext(
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
            interval_seconds=interval_seconds,
        ),
        cache=FeatureCache(folder / "features", 10**10),
        telemetry=telemetry,
        stop=Stop(),
    )


def _fit_head(trainee: Trainee, folder: Path) -> None:
    from job import telemetry, training, transfer
    from job.settings import TransferSettings

    context = _make_context(folder, telemetry.silent(), float("inf"))
    choice = transfer.Choice("none", None, "This is what is measured.", "setting")
    plan = transfer.make_plan(TransferSettings(mode="none"), trainee.classifier, choice)
    training.fit(trainee.classifier, plan, trainee.feed, context)


def _serve_anywhere() -> "RunTelemetry":
    """Telemetry on a free port, which the settings cannot ask for."""
    from prometheus_client import CollectorRegistry

    from job.telemetry import RunTelemetry
    from job.telemetry.metrics import register
    from job.telemetry.run_state import RunState
    from job.telemetry.server import Server

    state, registry = RunState("bench"), CollectorRegistry()
    register(state, registry)
    return RunTelemetry(state, Server(state, registry, "127.0.0.1", 0))


def _start_training(
    folder: Path, telemetry: "RunTelemetry", interval_seconds: float
) -> tuple["StageTrainer", "TrainingSession"]:
    """A training of everything that can go on for any number of epochs."""
    from job.training import StageTrainer, TrainingSession, divide_classifier, load_inputs
    from job.transfer import Stage

    trainee = _load_trainee()
    context = _make_context(folder, telemetry, interval_seconds)
    update = {"epochs": 10**6, "patience": 0}
    endless = replace(context, settings=context.settings.model_copy(update=update))
    stage = Stage("fine_tuning", "all", solved=False, rate=1e-6)
    network = divide_classifier(trainee.classifier, stage, None, trainee.feed, endless)
    trainer = StageTrainer(network, load_inputs(network, trainee.feed, endless), endless)
    session = TrainingSession(classifier=trainee.classifier, feed=trainee.feed, context=endless)
    return trainer, session

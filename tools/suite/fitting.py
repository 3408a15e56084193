"""Fit choices on one draw of one task, through the rooms of the job. It imports TensorFlow."""

import gc
import json
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from job import audit, batches, dataset, model, storage, telemetry, training, transfer, workers
from job import weights as pretrained
from job.audit import Splits
from job.catalogue import BACKBONES
from job.checkpoint import CheckpointStore
from job.features import FeatureCache
from job.model import Classifier
from job.scores import score
from job.settings import (
    BackboneSettings,
    CacheSettings,
    CheckpointSettings,
    DatasetSettings,
    DevicesSettings,
    GateSettings,
)
from job.training import TrainingContext
from job.transfer import Plan
from job.workers import Stop, Workers
from tools import photographs
from tools.suite.choices import CHOICES, Choice
from tools.suite.jobs import FitJob
from tools.suite.outcomes import Outcome, count_work, locate_outcome
from tools.suite.refinements import RefinementWatch
from tools.suite.tasks import TASKS, Task

# More than the activations of any task.
CACHE_LIMIT = 20 * 10**9


def fit_choices(job: FitJob) -> None:
    """Draw the task, fit each choice and write its outcome."""
    task = TASKS[job.task].shrink(job.divisor)
    # It warns of functions that are traced for each fit, which is meant here.
    tf.get_logger().setLevel("ERROR")
    own = workers.join(DevicesSettings(threads=job.threads))
    with tempfile.TemporaryDirectory(prefix="graft-suite-") as scratch:
        folder = Path(scratch)
        task.write(job.seed, folder / "images")
        splits = split_images(folder)
        for name in job.choices:
            # What the first choice keeps of the images serves the others.
            cache = FeatureCache(folder / "features", CACHE_LIMIT)
            outcome, classifier = _fit_choice(job, CHOICES[name], (splits, cache), own)
            path = locate_outcome(job.folder, job.task, job.seed, name)
            if job.keeps_weights:
                path.parent.mkdir(parents=True, exist_ok=True)
                arrays = [variable.numpy() for variable in classifier.model.variables]
                np.savez(path.with_suffix(".weights.npz"), *arrays)
            # Last, because it says that the fit is complete.
            outcome.write(path)
            tested = score("accuracy", outcome.test_labels, outcome.test)
            chosen_by = score("accuracy", outcome.val_labels, outcome.val)
            print(
                f"seed {job.seed}  {job.task:<14}{name:<8}val {chosen_by:.3f}  test {tested:.3f}"
                f"  {outcome.epochs:>2} epochs  {outcome.seconds:.0f} s, "
                f"{outcome.cpu_seconds:.0f} of CPU",
                flush=True,
            )
            # Keras keeps every graph that was built.
            del classifier
            keras.backend.clear_session()
            gc.collect()


def split_images(folder: Path) -> Splits:
    """Check and split the drawn images, as a run does."""
    quiet = telemetry.silent()
    settings = DatasetSettings(uri=(folder / "images").as_uri())
    cache = CacheSettings(dir=folder / "cache")
    data = dataset.fetch(dataset.survey(settings), settings, cache, quiet)
    return audit.split(audit.inspect(data, settings.broken_share, folder / "audit", quiet))


def _fit_choice(
    job: FitJob, choice: Choice, images: tuple[Splits, FeatureCache], own: Workers
) -> tuple[Outcome, Classifier]:
    """Build, fit and predict, as the phases of `graft run` do."""
    splits, cache = images
    started, cpu_started = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory(prefix="graft-fit-") as scratch:
        folder = Path(scratch)
        classifier, plan = build_network(job, choice, splits, folder)
        size = TASKS[job.task].side
        feed = batches.build_feed(splits, size, "letterbox", job.training, job.seed)
        context = make_context(job, cache, folder, own)
        watch = RefinementWatch(classifier, feed)
        with watch.attached():
            fitted = training.fit(classifier, plan, feed, context)
        classifier = fitted.classifier
        seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu_started

    # In one call, because each of them traces the network again.
    logits = training.predict(classifier, feed, (*splits.val, *splits.test))
    epochs = sum(row["stage"] == "tune" for row in fitted.history)
    layers = classifier.cuts[-1].depth
    frozen = 0
    if plan.cut is not None:
        frozen = plan.cut.depth
    counts = (len(splits.train), len(splits.val))
    outcome = Outcome(
        val=logits[: len(splits.val)],
        val_labels=batches.collect_labels(splits.val),
        test=logits[len(splits.val) :],
        test_labels=batches.collect_labels(splits.test),
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        epochs=epochs,
        of_epochs=job.training.epochs,
        work=count_work(layers, frozen, counts, epochs),
        plain_work=count_work(layers, 0, counts, job.training.epochs),
        layers=layers,
        train=len(splits.train),
        history=json.dumps(fitted.history),
        refinements=json.dumps(watch.merge(fitted.refinements)),
    )
    return outcome, classifier


def make_context(job: FitJob, cache: FeatureCache, folder: Path, own: Workers) -> TrainingContext:
    """What a training works with. Its checkpoints are in `folder`."""
    store = storage.connect(folder.as_uri()).child("checkpoints")
    return TrainingContext(
        settings=job.training,
        gate=GateSettings(),
        workers=own,
        precision=own.dtype_policy(job.training.precision),
        checkpoints=CheckpointStore(
            folder=folder / "local",
            store=store,
            interval_seconds=CheckpointSettings().interval_seconds,
        ),
        cache=cache,
        telemetry=telemetry.silent(),
        stop=Stop(),
    )


def build_network(
    job: FitJob, choice: Choice, splits: Splits, folder: Path
) -> tuple[Classifier, Plan]:
    """The classifier with its ImageNet weights, and the plan of the choice."""
    task: Task = TASKS[job.task]
    settings = BackboneSettings(name=job.backbone, image_size=task.side)
    photographs.ensure_weights(job.backbone)
    home = photographs.cache() / "keras"
    found = pretrained.locate(settings, BACKBONES[job.backbone], folder, home)
    spec = model.ClassifierSpec(
        backbone=settings, head=choice.head, classes=splits.classes, seed=job.seed
    )
    classifier = model.build(spec, found)
    plan = transfer.choose_plan(choice.transfer, classifier, splits)
    if plan is None:
        raise ValueError(f"{choice.name} leaves the plan to a race, expected a fixed choice")
    return classifier, plan

"""Logits of images that are not trained on, in batches of one fixed size."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from job.audit import Example
from job.batches import EVALUATION_BATCH, Feed, pad_rows
from job.features import FrozenNetwork, compute_activations
from job.model import Classifier
from job.telemetry import Telemetry, silent, time_input
from job.training.context import TrainingContext
from job.training.inputs import StageInputs
from job.training.network import name_activations, pool_backbone


def predict(
    classifier: Classifier,
    feed: Feed,
    examples: Sequence[Example],
    telemetry: Telemetry | None = None,
) -> np.ndarray:
    """Compute the trained model's logits: float32 [n, classes]."""

    @tf.function
    def infer(images: tf.Tensor) -> tf.Tensor:
        features = classifier.features(images, training=False)
        return classifier.head(features, training=False)

    images = time_input(feed.load_images(examples), telemetry or silent())
    logits = np.concatenate([infer(batch).numpy() for batch in images])
    # The last batch is filled up with copies of its last image.
    return logits[: len(examples)]


def predict_frozen(
    classifier: Classifier, feed: Feed, examples: Sequence[Example], context: TrainingContext
) -> np.ndarray:
    """Compute the logits of a head on a frozen backbone: float32 [n, classes].

    The features of images that were seen before are kept.
    """
    network = pool_backbone(classifier, context)
    features = context.cache.load(network, feed, examples, context.telemetry)

    @tf.function
    def infer(batch: tf.Tensor) -> tf.Tensor:
        return classifier.head(batch, training=False)

    batches = []
    for first in range(0, len(features), EVALUATION_BATCH):
        rows = features[first : first + EVALUATION_BATCH]
        logits = infer(pad_rows(rows, EVALUATION_BATCH)).numpy()
        batches.append(logits[: len(rows)])
    return np.concatenate(batches)


def compute_feature_maps(
    classifier: Classifier, feed: Feed, examples: Sequence[Example]
) -> np.ndarray:
    """Compute what a trained backbone gives for some images: float32 [n, h, w, channels]."""
    network = FrozenNetwork(classifier.backbone, key="")
    # They are a few: what they wait for tells nothing of the phase.
    batches = list(compute_activations(network, feed, examples, silent()))
    return np.concatenate(batches).astype(np.float32)


def load_feature_maps(
    classifier: Classifier, feed: Feed, examples: Sequence[Example], context: TrainingContext
) -> np.ndarray:
    """The same of a frozen backbone, whose maps are kept."""
    key = name_activations(classifier, classifier.backbone, "feature map", context)
    network = FrozenNetwork(classifier.backbone, key)
    return context.cache.load(network, feed, examples, context.telemetry)[:].astype(np.float32)


def predict_validation(
    infer: Callable[[tf.Tensor], tf.Tensor],
    inputs: StageInputs,
    context: TrainingContext,
    count_batch: Callable[[], None],
) -> np.ndarray:
    """Compute the logits of the validation images with all workers: float32 [n, classes].

    Each worker takes every n-th batch, and all of them receive the whole. `count_batch` is called
    after each.
    """
    workers = context.workers
    splits = inputs.feed.splits
    images = len(splits.val)
    classes = len(splits.classes)
    batches = -(-images // EVALUATION_BATCH)
    logits = np.zeros((batches, EVALUATION_BATCH, classes), np.float32)
    own = range(workers.index, batches, workers.count)
    loaded = time_input(inputs.load_validation(own), context.telemetry)
    for number, batch in zip(own, loaded, strict=True):
        logits[number] = infer(batch)
        count_batch()
    # Where this worker has logits, the others have zeros: the sum is exact.
    together = workers.sum(logits)
    rows = together.reshape(-1, classes)
    return rows[:images]

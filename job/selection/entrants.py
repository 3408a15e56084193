"""A backbone that takes part in a choice: its network, its features and its time for an image."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from job import batches, model
from job.audit import Example, Splits
from job.batches import Feed
from job.features import FrozenNetwork
from job.linear import FeatureGroup, Trial, set_trial
from job.model import ClassifierSpec
from job.settings import Settings
from job.training import TrainingContext, freeze_stages, make_sample
from job.weights import Weights

# Images of a timed batch, and how often it is timed. The quickest time counts: what disturbs it
# only makes it longer.
TIMED_BATCH, TIMES = 8, 3


@dataclass(frozen=True, slots=True)
class FrozenBackbone:
    """A backbone as it was pre-trained.

    Attributes:
        network: images -> features of all stages, under the name that they are kept under. So the
            measurement of the run finds them.
        groups: the columns of each stage. The last one is what a plain head takes.
        feed: the images at the backbone's size.
    """

    network: FrozenNetwork
    groups: tuple[FeatureGroup, ...]
    feed: Feed


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """A backbone with its pre-trained weights.

    Attributes:
        name: a key of `BACKBONES`.
        network: images -> features of all stages, under the name that they are kept under. So the
            measurement of the run finds them.
        last: the columns that a plain head takes.
        feed: the images at the backbone's size.
        milliseconds: that one image takes on this machine, in a batch of `TIMED_BATCH`.
    """

    name: str
    network: FrozenNetwork
    last: FeatureGroup
    feed: Feed
    milliseconds: float

    def set_trial(
        self, learnt: Sequence[Example], val: Sequence[Example], context: TrainingContext
    ) -> Trial:
        """Load the features of some images, and return what learns and what judges."""
        rows = context.cache.load(self.network, self.feed, [*learnt, *val], context.telemetry)[:]
        features = rows[:, self.last.start : self.last.stop]
        train = make_sample(features[: len(learnt)], self.feed, learnt)
        return set_trial(train, make_sample(features[len(learnt) :], self.feed, val))


def build_entrant(
    name: str, settings: Settings, weights: Weights, splits: Splits, context: TrainingContext
) -> Entrant:
    """Build a backbone, and measure its time. The arguments are those of `freeze_backbone`."""
    frozen = freeze_backbone(name, settings, weights, splits, context)
    return Entrant(
        name=name,
        network=frozen.network,
        last=frozen.groups[-1],
        feed=frozen.feed,
        milliseconds=_measure_milliseconds(frozen.network, frozen.feed.image_size),
    )


def freeze_backbone(
    name: str, settings: Settings, weights: Weights, splits: Splits, context: TrainingContext
) -> FrozenBackbone:
    """Build a backbone whose features are kept.

    Args:
        name: a key of `BACKBONES`.
        settings: of the run.
        weights: of this backbone.
        splits: the images.
        context: knows precision and machine.
    """
    backbone, head = settings.backbone.resolve(name), settings.head
    if head.units or head.pooling == "flatten":
        # Such a head cannot be solved: a linear one on averages takes its place.
        head = head.model_copy(update={"units": 0, "pooling": "avg"})
    spec = ClassifierSpec(
        backbone=backbone,
        head=head,
        classes=splits.classes,
        seed=settings.seed,
        precision=context.workers.dtype_policy(settings.training.precision),
    )
    # Outside the strategy's scope, in which all workers would have to build it.
    classifier = model.build(spec, weights)
    network, groups = freeze_stages(classifier, context)
    size = classifier.image_size
    feed = batches.build_feed(splits, size, backbone.image_fit, settings.training, settings.seed)
    return FrozenBackbone(network, groups, feed)


def _measure_milliseconds(network: FrozenNetwork, size: int) -> float:
    """How long the network takes for one image, without decoding."""
    images = tf.zeros((TIMED_BATCH, size, size, 3))
    network.infer(images)  # traces the function
    seconds = []
    for _ in range(TIMES):
        began = time.perf_counter()
        # Reading the result waits until it is computed.
        network.infer(images).numpy()
        seconds.append(time.perf_counter() - began)
    return 1000 * float(np.min(seconds)) / TIMED_BATCH

"""The features that heads are solved on: the pooled end of every stage of the backbone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from job.audit import Example
from job.batches import Feed, collect_labels
from job.features import FrozenNetwork
from job.linear import FeatureGroup, Sample
from job.model import Classifier, pool_stages
from job.settings import Pooling
from job.training.context import TrainingContext
from job.training.network import name_activations


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFeatures:
    """Features of all images.

    Attributes:
        groups: the columns of each stage. The last one is what a plain head takes.
        train: features float32 [n, d], labels, targets and weights of the training images.
        val, test: the same of the other images.
    """

    groups: tuple[FeatureGroup, ...]
    train: Sample
    val: Sample
    test: Sample

    def take_columns(self, sample: Sample, pooling: Pooling) -> Sample:
        """The same images with the features that a head of this pooling takes."""
        if pooling == "stages":
            return sample
        last = self.groups[-1]
        return replace(sample, features=sample.features[:, last.start : last.stop])


def load_stage_features(
    classifier: Classifier, feed: Feed, context: TrainingContext
) -> StageFeatures:
    """Load the features of all stages. Those of new images are computed first.

    The backbone must still have its initial weights, which is what the features are kept under.
    """
    network, groups = freeze_stages(classifier, context)
    splits = feed.splits
    examples = [*splits.train, *splits.val, *splits.test]
    rows = context.cache.load(network, feed, examples, context.telemetry)[:]
    train, val, test = np.split(rows, [len(splits.train), len(splits.train) + len(splits.val)])
    return StageFeatures(
        groups=groups,
        train=make_sample(train, feed, splits.train),
        val=make_sample(val, feed, splits.val),
        test=make_sample(test, feed, splits.test),
    )


def freeze_stages(
    classifier: Classifier, context: TrainingContext
) -> tuple[FrozenNetwork, tuple[FeatureGroup, ...]]:
    """The network that gives the features of all stages, and the columns of each stage."""
    model, groups = pool_stages(classifier)
    place = f"stages, the last one pooled by {classifier.spec.head.pooling}"
    key = name_activations(classifier, model, place, context)
    return FrozenNetwork(model, key), groups


def apply_head(classifier: Classifier, features: StageFeatures, sample: Sample) -> np.ndarray:
    """Compute the logits of a head on the features of a frozen backbone: float32 [n, classes]."""
    taken = features.take_columns(sample, classifier.spec.head.pooling)
    return np.asarray(classifier.head(taken.features, training=False))


def make_sample(features: np.ndarray, feed: Feed, examples: Sequence[Example]) -> Sample:
    """Features [n, d] of examples, with the targets and weights that training gives them."""
    labels = collect_labels(examples)
    return Sample(
        features=features,
        labels=labels,
        targets=feed.smooth_labels(labels),
        weights=feed.weigh_labels(labels),
    )

"""How a stage divides a classifier: what runs once per image, what runs frozen, what is trained."""

import logging
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from job.batches import Feed
from job.features import FrozenNetwork
from job.model import Classifier, Cut
from job.plurals import format_count
from job.training.context import TrainingContext
from job.transfer import Stage, select_variables

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageNetwork:
    """A classifier as one stage trains it, from what enters to the logits.

    Attributes:
        stage: which one.
        classifier: the whole of it.
        variables: what the stage changes.
        kept: the frozen part whose activations are the same in every epoch and small enough to
            keep. The stage takes them. None: it takes images.
        kept_views: how many augmented views of each training image they are of. 0: the images are
            as they are.
        live: the frozen part that runs in every step, since its activations cannot be kept.
        freed: the part of the backbone that is trained. None: only the head is, on features that
            are kept.
    """

    stage: Stage
    classifier: Classifier
    variables: list[Any]
    kept: FrozenNetwork | None = None
    kept_views: int = 0
    live: keras.Model | None = None
    freed: keras.Model | None = None

    def compute_logits(self, inputs: tf.Tensor, *, training: bool) -> tf.Tensor:
        """Logits float32 [batch, classes]; `training` switches the head's Dropout on."""
        # BatchNorm stays in inference mode even where it is trained: small batches would spoil
        # the statistics of the pre-trained weights.
        if self.live is not None:
            frozen = self.live(inputs, training=False)
            # No gradient is computed for what is not trained.
            inputs = tf.stop_gradient(frozen)
        if self.freed is not None:
            feature_map = self.freed(inputs, training=False)
            inputs = self.classifier.pool(feature_map)
        return self.classifier.head(inputs, training=training)


def divide_classifier(
    classifier: Classifier,
    stage: Stage,
    cut: Cut | None,
    feed: Feed,
    context: TrainingContext,
) -> StageNetwork:
    """Divide a classifier for a stage, and keep as much as can be kept.

    Args:
        classifier: as it is at the beginning of the stage.
        stage: what is trained.
        cut: the boundary, where a part of the backbone is freed.
        feed: the images.
        context: knows what can be kept.
    """
    kept = live = freed = None
    kept_views = 0
    if stage.frees == "none":
        # Whatever the augmentation and the limit are: features are small, and a head on a frozen
        # backbone sees plain images.
        kept = pool_backbone(classifier, context)
    elif cut is None:
        freed = classifier.backbone
    else:
        trunk = classifier.trunk(cut)
        freed = classifier.top(cut)
        key = name_activations(classifier, trunk, f"cut at {cut.name}", context)
        frozen = FrozenNetwork(trunk, key)
        fits = context.cache.fits(frozen, feed, feed.views)
        # Augmented images without a number of views differ in every epoch, and their activations
        # with them.
        if fits and (feed.views or feed.augmentation == "none"):
            kept = frozen
            kept_views = feed.views
        else:
            live = trunk
            if feed.views:
                logger.warning(
                    "The activations of %s of each image do not fit into the cache: the frozen "
                    "layers run in every epoch, on the same views. Lower GRAFT_TRAINING_VIEWS, or "
                    "give the cache more disk.",
                    format_count(feed.views, "view"),
                )
    return StageNetwork(
        stage=stage,
        classifier=classifier,
        variables=select_variables(classifier, stage.frees, cut),
        kept=kept,
        kept_views=kept_views,
        live=live,
        freed=freed,
    )


def pool_backbone(classifier: Classifier, context: TrainingContext) -> FrozenNetwork:
    """What the head takes of a frozen backbone: images -> features float32 [batch, d]."""
    model = classifier.features
    place = f"pooled by {classifier.spec.head.pooling}"
    key = name_activations(classifier, model, place, context)
    return FrozenNetwork(model, key)


def name_activations(
    classifier: Classifier,
    model: keras.Model,
    place: str,
    context: TrainingContext,
) -> str:
    """Name everything besides the images that decides the bytes of activations.

    Args:
        classifier: knows its initial weights, which its frozen part still has.
        model: gives the activations.
        place: tells this part of the backbone from any other. The shape alone does not: average
            and max pooling have the same one.
        context: knows precision and machine.
    """
    weights = classifier.initial_weights
    shape = model.output.shape
    precision = context.precision
    machine = context.workers.fingerprint
    return f"{weights} {place} {shape} {precision} {machine}"

"""What each refinement of trained weights brings on test images, which the job never looks at."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from job.batches import Feed, collect_labels
from job.model import Classifier
from job.scores import score

LOGGER = logging.getLogger("job.training.refinement")


class RefinementWatch(logging.Handler):
    """Measures the test accuracy whenever `refine` says that it has tried something.

    Args:
        classifier: that is trained.
        feed: with the test images.
    """

    def __init__(self, classifier: Classifier, feed: Feed) -> None:
        super().__init__(logging.INFO)
        self._feed = feed
        logits = classifier.head(classifier.features.output)
        network = keras.Model(classifier.features.input, logits)
        self._infer = tf.function(lambda pixels: network(pixels, training=False))
        self._pixels: list[tf.Tensor] = []
        self._scores: list[float] = []

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Watch the refinements inside the block."""
        level = LOGGER.level
        LOGGER.setLevel(logging.INFO)
        LOGGER.addHandler(self)
        try:
            yield
        finally:
            LOGGER.removeHandler(self)
            LOGGER.setLevel(level)

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - the base class fixes it
        """Measure the weights that are in the model now."""
        test = self._feed.splits.test
        if not self._pixels:
            self._pixels = list(self._feed.load_images(test))
        batches = [self._infer(pixels).numpy() for pixels in self._pixels]
        logits = np.concatenate(batches)[: len(test)]
        self._scores.append(score("accuracy", collect_labels(test), logits))

    def merge(self, tried: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The best epoch and what was tried after it, each with the test accuracy."""
        rows: list[Mapping[str, Any]] = []
        if self._scores:
            rows = [{"name": "best epoch"}, *tried]
        merged = []
        for row, tested in zip(rows, self._scores, strict=True):
            merged.append({**row, "test": tested})
        return merged

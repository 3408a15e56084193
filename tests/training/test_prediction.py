"""What is computed for images that are not trained on."""

from collections.abc import Callable

import numpy as np

from job import training
from job.batches import Feed
from job.evaluation import compute_class_maps
from tests.training.conftest import build_classifier


def test_feature_maps_explain_the_logits_that_are_predicted(feed: Callable[..., Feed]) -> None:
    classifier = build_classifier()
    batches = feed()
    examples = batches.splits.test[:5]
    logits = training.predict(classifier, batches, examples)
    feature_maps = training.compute_feature_maps(classifier, batches, examples)
    layer = classifier.head.get_layer("logits")
    kernel, bias = layer.kernel.numpy(), layer.bias.numpy()
    predicted = logits.argmax(axis=1)
    other = (predicted + 1) % logits.shape[1]
    maps = compute_class_maps(feature_maps, kernel, predicted, other)
    assert maps.shape == feature_maps.shape[:3]
    rows = np.arange(len(examples))
    margins = logits[rows, predicted] - logits[rows, other]
    found = maps.mean(axis=(1, 2)) + bias[predicted] - bias[other]
    np.testing.assert_allclose(found, margins, rtol=1e-4, atol=1e-5)

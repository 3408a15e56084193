"""What is computed for images that are not trained on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from job import training
from job.batches import Feed
from job.evaluation import compute_class_maps
from job.training import TrainingContext
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


def test_a_frozen_backbone_sees_each_image_once_for_its_logits_and_its_feature_maps(
    feed: Callable[..., Feed], context: Callable[..., TrainingContext], tmp_path: Path
) -> None:
    classifier, batches = build_classifier(units=5), feed()
    images = batches.splits.train + batches.splits.test
    surroundings = context()

    def count_rows() -> list[int]:
        shards = (tmp_path / "features").rglob("*.npy")
        return sorted(len(np.load(shard)) for shard in shards)

    for count, passes in ((20, [20]), (39, [19, 20]), (39, [19, 20])):
        logits = training.predict_frozen(classifier, batches, images[:count], surroundings)
        live = training.predict(classifier, batches, images[:count])
        np.testing.assert_allclose(logits, live, rtol=1e-5, atol=1e-6)
        assert count_rows() == passes
    for count, passes in ((3, [3, 19, 20]), (7, [3, 4, 19, 20])):
        kept = training.load_feature_maps(classifier, batches, images[:count], surroundings)
        live = training.compute_feature_maps(classifier, batches, images[:count])
        assert np.array_equal(kept, live)
        assert count_rows() == passes

"""Views: augmented images that come again, so that frozen layers run once for each of them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from job import training
from job.audit import Splits
from job.batches import Feed
from job.errors import Interrupted
from job.features import FrozenNetwork
from job.training import Fitted, TrainingContext
from job.workers import Shard
from tests.training.conftest import build_classifier, build_context, build_feed, build_plan
from tests.training.test_fit import StopAt, equal, weights_of


def fit_on_views(splits: Splits, surroundings: TrainingContext) -> Fitted:
    """Three epochs of four steps. The third one sees the first view again."""
    classifier = build_classifier(dropout=0.3)
    plan = build_plan("part", classifier, probe=False)
    feed = build_feed(splits, augmentation="light", views=2)
    return training.fit(classifier, plan, feed, surroundings)


@pytest.fixture(scope="module")
def uninterrupted(splits: Splits, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fit_on_views(splits, build_context(tmp_path_factory.mktemp("straight")))


def test_kept_activations_are_those_of_the_view_that_each_device_would_see_live(
    feed: Callable[..., Feed], context: Callable[..., TrainingContext]
) -> None:
    classifier, surroundings = build_classifier(), context()
    batches = feed(augmentation="light", views=2)
    (stage,) = build_plan("part", classifier, probe=False).stages
    network = training.divide_classifier(
        classifier, stage, classifier.cuts[0], batches, surroundings
    )
    kept = training.load_inputs(network, batches, surroundings)
    trunk = classifier.trunk(classifier.cuts[0])
    shard = Shard(index=1, workers=2, devices=2)
    # From the middle of the second epoch to the end of the fourth.
    count = shard.devices * (3 * batches.steps - 2)
    live = batches.load_epochs(1, 2, shard=shard).take(count)
    rows = replace(kept, shard=shard).load_epochs(1, 2).take(count)
    for one, other in zip(live, rows, strict=True):
        np.testing.assert_allclose(other[0], trunk(one[0], training=False), atol=1e-5)
        np.testing.assert_array_equal(other[2], one[2])


@pytest.mark.runs
def test_kept_and_live_views_train_the_same_weights(
    feed: Callable[..., Feed],
    context: Callable[..., TrainingContext],
    caplog: pytest.LogCaptureFixture,
) -> None:
    batches = feed(augmentation="light", views=2)
    kept, live = build_classifier(), build_classifier()
    fitted = training.fit(kept, build_plan("part", kept, probe=False), batches, context())
    assert "do not fit" not in caplog.text
    nothing_fits = context(cache_limit=0)
    nothing_fits.checkpoints.clear()
    folders = set(nothing_fits.cache.folder.iterdir())
    other = training.fit(live, build_plan("part", live, probe=False), batches, nothing_fits)
    assert set(nothing_fits.cache.folder.iterdir()) == folders
    assert "2 views of each image do not fit" in caplog.text
    # The weights alone may be those of the start, which a refinement has preferred.
    losses = [[row["loss"] for row in each.history] for each in (fitted, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for one, two in zip(weights_of(kept.model), weights_of(live.model), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.runs
def test_a_resumed_training_goes_on_at_the_view_of_its_epoch(
    splits: Splits, context: Callable[..., TrainingContext], uninterrupted: Fitted
) -> None:
    with pytest.raises(Interrupted):
        fit_on_views(splits, context(stop=StopAt(6)))
    resumed = fit_on_views(splits, context())
    assert equal(weights_of(uninterrupted.classifier.model), weights_of(resumed.classifier.model))
    assert uninterrupted == resumed


@pytest.mark.runs
def test_the_views_of_known_images_are_not_computed_again_when_others_come(
    feed: Callable[..., Feed], context: Callable[..., TrainingContext]
) -> None:
    classifier, surroundings = build_classifier(), context()
    network = FrozenNetwork(classifier.trunk(classifier.cuts[0]), "key")
    cache, quiet = surroundings.cache, surroundings.telemetry
    everything = feed(augmentation="light", views=3)
    known = everything.splits.train[:20]
    few = replace(everything, views=2, splits=replace(everything.splits, train=known))
    first = cache.load_views(network, few, quiet)[:].reshape(2, 20, -1)
    (shard,) = cache.folder.rglob("*.npy")
    # The images have other rows now.
    mixed = tuple(reversed(everything.splits.train))
    many = replace(everything, splits=replace(everything.splits, train=mixed))
    rows = cache.load_views(network, many, quiet)[:].reshape(3, 30, -1)
    (new,) = set(cache.folder.rglob("*.npy")) - {shard}
    assert len(np.load(new)) == 3 * 30 - 2 * 20
    assert np.array_equal(rows[:2, :9:-1], first)
    assert len({row.tobytes() for view in rows for row in view}) == 3 * 30

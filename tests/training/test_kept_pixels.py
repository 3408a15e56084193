"""Images that are trained on are decoded once, as far as the cache has room."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from job import training
from job.batches import Feed
from job.training import TrainingContext
from job.training.inputs import ImageInputs
from tests.training.conftest import build_classifier, build_plan
from tests.training.test_fit import equal, weights_of


def load_inputs(batches: Feed, surroundings: TrainingContext) -> ImageInputs:
    """The images of a training of all layers."""
    classifier = build_classifier()
    (stage,) = build_plan("all", classifier, probe=False).stages
    network = training.divide_classifier(classifier, stage, None, batches, surroundings)
    inputs = training.load_inputs(network, batches, surroundings)
    assert isinstance(inputs, ImageInputs)
    return inputs


@pytest.mark.parametrize("augmentation", ["none", "light"])
def test_kept_and_live_images_train_the_same_weights(
    feed: Callable[..., Feed], context: Callable[..., TrainingContext], augmentation: str
) -> None:
    batches = feed(augmentation=augmentation)
    kept, live = build_classifier(), build_classifier()
    fitted = training.fit(kept, build_plan("all", kept, probe=False), batches, context(epochs=2))
    nothing_fits = context(cache_limit=0, epochs=2)
    nothing_fits.checkpoints.clear()
    folders = set(nothing_fits.cache.folder.iterdir())
    other = training.fit(live, build_plan("all", live, probe=False), batches, nothing_fits)
    assert set(nothing_fits.cache.folder.iterdir()) == folders
    assert [row["loss"] for row in fitted.history] == [row["loss"] for row in other.history]
    assert equal(weights_of(kept.model), weights_of(live.model))


def test_after_that_no_image_file_is_read(
    feed: Callable[..., Feed], context: Callable[..., TrainingContext], tmp_path: Path
) -> None:
    batches = feed(augmentation="light")
    inputs = load_inputs(batches, context())
    gone = []
    for example in batches.splits.train:
        gone.append(replace(example, path=tmp_path / "gone"))
    splits = replace(batches.splits, train=tuple(gone), val=tuple(gone))
    without_files = replace(inputs, feed=replace(batches, splits=splits))
    epochs = without_files.load_epochs(0, 0).take(2 * batches.steps)
    assert len(list(epochs)) == 2 * batches.steps
    (validated,) = without_files.load_validation(range(1))
    live = ImageInputs(batches, inputs.shard)
    (decoded,) = live.load_validation(range(1))
    assert np.array_equal(validated, decoded)


def test_only_new_images_are_decoded_when_others_come(
    feed: Callable[..., Feed], context: Callable[..., TrainingContext]
) -> None:
    batches, surroundings = feed(augmentation="light"), context()
    few = replace(batches, splits=replace(batches.splits, train=batches.splits.train[5:]))
    load_inputs(few, surroundings)
    known = set(surroundings.cache.folder.rglob("*.npy"))
    load_inputs(batches, surroundings)
    (new,) = set(surroundings.cache.folder.rglob("*.npy")) - known
    assert len(np.load(new)) == 5


def test_what_does_not_fit_and_what_is_seen_once_is_not_kept(
    feed: Callable[..., Feed], context: Callable[..., TrainingContext]
) -> None:
    batches = feed(augmentation="light")
    image = batches.image_size**2 * 3
    train = image * len(batches.splits.train)
    # In float32. With the lists of the images and the unused ends of blocks.
    both = train + 4 * image * len(batches.splits.val) + 2**15
    kept = []
    for limit, epochs in ((0, 3), (train, 3), (both, 1), (both, 3)):
        inputs = load_inputs(batches, context(cache_limit=limit, epochs=epochs))
        kept.append((inputs.train is not None, inputs.val is not None))
    assert kept == [(False, False), (True, False), (False, True), (True, True)]

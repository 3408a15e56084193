"""The feed: what a step sees is a function of (seed, epoch, step)."""

import itertools
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from job import batches
from job.audit import Example, Splits
from job.batches import EVALUATION_BATCH, Feed, Rows
from job.batches import feed as feeding
from job.images.augmentation import augment, draw_changes, draw_views
from job.settings import TrainingSettings

SIZE = 16


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    """Ten images of class a, four of b, none of c: the k-th has the grey level 10 k."""
    folder = tmp_path_factory.mktemp("pictures")

    def draw(number: int) -> Example:
        path = folder / f"{number}.png"
        Image.new("RGB", (SIZE, SIZE), (10 * number,) * 3).save(path)
        digest = sha256(path.read_bytes()).hexdigest()
        return Example(
            path=path, name=path.name, label=int(number >= 10), sha256=digest, format="PNG"
        )

    images = tuple(draw(number) for number in range(14))
    return Splits(
        classes=("a", "b", "c"),
        train=images,
        val=images[:3],
        test=images[3:5],
        near_duplicates=(),
        leaks=(),
        given=False,
    )


@pytest.fixture
def feed(splits: Splits) -> Feed:
    return Feed(
        splits=splits,
        image_size=SIZE,
        image_fit="letterbox",
        batch_size=4,
        seed=3,
        augmentation="none",
        label_smoothing=0.0,
        class_weights="none",
    )


def load_epoch(
    feed: Feed, epoch: int, start: int = 0, features: Rows | None = None
) -> tf.data.Dataset:
    """The batches of one epoch, from a step on."""
    return feed.load_epochs(epoch, start, features).take(feed.steps - start)


def count_shared_pairs(one: np.ndarray, other: np.ndarray, batch: int) -> float:
    """The share of pairs of a batch that are in one batch of another epoch again."""
    batches = np.argsort(one) // batch, np.argsort(other) // batch
    first, second = (each[:, None] == each for each in batches)
    upper = np.triu(np.ones_like(first), 1)
    return float((first & second & upper).sum() / (first & upper).sum())


def taken(dataset: tf.data.Dataset) -> list[tuple[np.ndarray, ...]]:
    return [tuple(part.numpy() for part in batch) for batch in dataset]


def test_the_order_is_a_permutation_and_depends_on_seed_and_epoch_alone(feed: Feed) -> None:
    orders = [feed.shuffle(0), feed.shuffle(1), replace(feed, seed=4).shuffle(0)]
    assert all(sorted(order) == list(range(14)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert (feed.shuffle(0) == replace(feed).shuffle(0)).all()


def test_images_of_a_batch_meet_again_in_the_next_epoch_by_chance_alone(feed: Feed) -> None:
    (image,) = feed.splits.train[:1]
    many = replace(feed, splits=replace(feed.splits, train=(image,) * 1000))
    orders = [many.shuffle(epoch) for epoch in range(4)]
    for one, other in itertools.pairwise(orders):
        # 10 of 1,000 images in a batch: 9 of 999 others are expected in it again.
        assert count_shared_pairs(one, other, 10) == pytest.approx(0.009, abs=0.006)


def test_an_epoch_shows_every_image_once_and_fills_up_with_weight_0(feed: Feed) -> None:
    steps = taken(load_epoch(feed, 0))
    assert len(steps) == feed.steps == 4
    seen = np.concatenate([inputs[weights > 0, 0, 0, 0] for inputs, _, weights in steps])
    assert sorted(seen) == [10.0 * k for k in range(14)]
    assert [inputs.shape for inputs, _, _ in steps] == [(4, SIZE, SIZE, 3)] * 4
    np.testing.assert_allclose([weights.sum() for *_, weights in steps], 1, atol=1e-6)
    assert (steps[-1][2] == [0.5, 0.5, 0, 0]).all()


@pytest.mark.parametrize("augmentation", ["none", "light"])
@pytest.mark.parametrize("start", [1, 3])
def test_a_restart_at_a_step_continues_with_the_same_pixels(
    feed: Feed, augmentation: str, start: int
) -> None:
    feed = replace(feed, augmentation=augmentation)
    whole, rest = taken(load_epoch(feed, 2))[start:], taken(load_epoch(feed, 2, start))
    assert len(whole) == len(rest)
    for one, other in zip(whole, rest, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("augmentation", ["none", "light"])
def test_one_pass_over_all_epochs_gives_what_each_epoch_gives(
    feed: Feed, augmentation: str
) -> None:
    feed = replace(feed, augmentation=augmentation)
    together = taken(feed.load_epochs(1, 2).take(2 * feed.steps - 2))
    apart = taken(load_epoch(feed, 1, 2)) + taken(load_epoch(feed, 2))
    for one, other in zip(together, apart, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_augmentation_differs_between_epochs_and_images(feed: Feed) -> None:
    light = replace(feed, augmentation="light", batch_size=14)
    (first, _, _), (second, _, _) = taken(load_epoch(light, 0))[0], taken(load_epoch(light, 1))[0]
    by_image = [
        inputs[np.argsort(light.shuffle(epoch))] for epoch, inputs in enumerate((first, second))
    ]
    assert not np.array_equal(by_image[0], by_image[1])


def test_views_come_in_turn_and_come_again(feed: Feed) -> None:
    views = replace(feed, augmentation="light", batch_size=14, views=2)
    by_image = []
    for epoch, (inputs, _, _) in enumerate(taken(views.load_epochs(0).take(4))):
        by_image.append(inputs[np.argsort(views.shuffle(epoch))])
    assert np.array_equal(by_image[0], by_image[2])
    assert np.array_equal(by_image[1], by_image[3])
    assert not np.array_equal(by_image[0], by_image[1])


def test_features_take_the_place_of_images_in_the_same_order(feed: Feed, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.arange(14 * 2, dtype=np.float32).reshape(14, 2))
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    for (pixels, *rest), (features, *others) in zip(
        taken(load_epoch(feed, 1, 1)), taken(load_epoch(feed, 1, 1, rows)), strict=True
    ):
        assert (features[:, 0] / 2 * 10 == pixels[:, 0, 0, 0]).all()
        assert all(np.array_equal(a, b) for a, b in zip(rest, others, strict=True))


def test_a_batch_larger_than_the_data_is_one_step(feed: Feed) -> None:
    (step,) = taken(load_epoch(replace(feed, batch_size=32), 0))
    assert step[0].shape[0] == 32
    assert (step[2] > 0).sum() == 14


def test_evaluation_repeats_the_last_image_until_the_batch_is_full(feed: Feed) -> None:
    (batch,) = [batch.numpy() for batch in feed.load_images(feed.splits.val)]
    assert batch.shape == (EVALUATION_BATCH, SIZE, SIZE, 3)
    assert (batch[2:] == 20).all()


def test_few_images_are_the_bytes_that_they_are_among_many(
    feed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = []
    forms = {"JPEG": "RGB", "PNG": "RGBA", "BMP": "RGB", "GIF": "P", "WebP": "RGBA"}
    for number, (form, mode) in enumerate(forms.items()):
        noise = np.random.default_rng(number).integers(0, 256, (33, 20 + number, 4), dtype=np.uint8)
        path = tmp_path / form
        Image.fromarray(noise).convert(mode).save(path, form)
        examples.append(Example(path=path, name=form, label=0, sha256=form, format=form))
    # More than one batch.
    examples = (examples * EVALUATION_BATCH)[: EVALUATION_BATCH + 3]
    few = np.concatenate([batch.numpy() for batch in feed.load_images(examples)])
    monkeypatch.setattr(feeding, "FEW_IMAGES", 0)
    many = np.concatenate([batch.numpy() for batch in feed.load_images(examples)])
    assert few.shape == (2 * EVALUATION_BATCH, SIZE, SIZE, 3)
    assert few.tobytes() == many.tobytes()


def test_balanced_class_weights_are_1_on_average_and_equal_by_class(feed: Feed) -> None:
    labels = batches.collect_labels(feed.splits.train)
    weights = replace(feed, class_weights="balanced").weigh_labels(labels)
    assert weights.mean() == pytest.approx(1)
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum())
    assert (feed.weigh_labels(labels) == 1).all()


def test_smoothed_targets_sum_to_1(feed: Feed) -> None:
    targets = replace(feed, label_smoothing=0.3).smooth_labels(np.array([0, 2]))
    np.testing.assert_allclose(targets, [[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]], atol=1e-6)


@pytest.mark.parametrize("augmentation", ["none", "light"])
def test_kept_pixels_are_seen_as_decoded_ones(feed: Feed, augmentation: str) -> None:
    feed = replace(feed, augmentation=augmentation)
    images = np.concatenate([batch.numpy() for batch in feed.load_images(feed.splits.train)])
    pixels = batches.convert_pixels(tf.constant(images[:14]), feed.pixel_type).numpy()
    assert pixels.dtype == feed.pixel_type
    live = taken(feed.load_epochs(1, 2).take(6))
    kept = taken(feed.load_epochs(1, 2, pixels=pixels).take(6))
    for one, other in zip(live, kept, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def draw_augmented(seed: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    return augment(np.array([noise] * 20), draw_changes([seed], 20)).numpy()


def test_augmentation_is_deterministic_in_its_seed() -> None:
    # TensorFlow optimizes a small function only after about 80 calls: the bits must not change.
    first = draw_augmented(1)
    for _ in range(90):
        assert np.array_equal(draw_augmented(1), first)


def test_augmentation_differs_by_its_seed_and_stays_between_0_and_255() -> None:
    results = np.concatenate([draw_augmented(1), draw_augmented(2)])
    assert results.min() >= 0
    assert results.max() <= 255
    assert len({result.tobytes() for result in results}) == 40


def test_an_image_is_changed_alike_in_whole_levels_and_in_floats() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    changes = draw_changes([1], 3)
    assert np.array_equal(augment(levels, changes), augment(levels.astype(np.float32), changes))


def test_augmentation_mirrors_moves_and_recolours_within_its_bounds() -> None:
    """Seen on pictures whose pixels say where they come from: red is the column, green the row."""
    count, size = 200, 101
    place = np.arange(size, dtype=np.float32)
    picture = np.stack([*np.meshgrid(place, place), np.full((size, size), 50)], axis=-1)
    changes = draw_changes([1], count)
    # Without the change of colours: the matrix that changes nothing.
    changes[:, 4:] = [*np.eye(3).ravel(), 0]
    seen = augment(np.array([picture] * count, np.float32), changes).numpy()
    # The middle is never moved out of sight, and neighbours in it tell mirroring and zoom.
    middle, span = size // 2, 20
    columns = seen[:, middle, middle + span, 0] - seen[:, middle, middle - span, 0]
    rows = seen[:, middle + span, middle, 1] - seen[:, middle - span, middle, 1]
    assert 0.35 < (columns < 0).mean() < 0.65
    np.testing.assert_allclose(np.abs(columns), rows, atol=0.01)
    zooms = rows / (2 * span)
    assert zooms.min() == pytest.approx(0.9, abs=0.01)
    assert zooms.max() == pytest.approx(1.1, abs=0.01)
    shifts = (seen[:, middle, middle, :2] - middle) / (size - 1)
    np.testing.assert_allclose([shifts.min(), shifts.max()], [-0.1, 0.1], atol=0.01)


def test_augmentation_changes_brightness_then_contrast_then_saturation() -> None:
    draws = np.random.default_rng([1]).random((8, 7), np.float32)[:, 4:, None, None]
    brightness, contrast, saturation = (draws * [[[0.2]], [[0.2]], [[0.4]]]).swapaxes(0, 1)
    # In the middle of the range, where nothing is clipped.
    colours = np.random.default_rng(0).uniform(110, 140, (8, 4, 4, 3)).astype(np.float32)
    expected = (colours * (0.9 + brightness[..., None]) - 127.5) * (0.9 + contrast[..., None])
    expected += 127.5
    grey = tf.image.rgb_to_grayscale(expected)
    expected = grey + (expected - grey) * (0.8 + saturation[..., None])
    changes = draw_changes([1], 8)
    # The whole image, where it is.
    changes[:, :4] = [0, 0, 1, 1]
    np.testing.assert_allclose(augment(colours, changes), expected, atol=1e-3)


def test_a_view_depends_on_the_seed_the_content_and_its_number() -> None:
    digests = ["0" * 64, "f" * 64]
    views = [draw_views(seed, digests, view) for seed in (1, 2) for view in (0, 1)]
    assert len({changes.tobytes() for view in views for changes in view}) == 2 * 2 * 2
    assert np.array_equal(draw_views(1, digests[::-1], 0)[::-1], views[0])


def test_the_feed_takes_its_part_of_the_settings(splits: Splits) -> None:
    training: dict[str, Any] = {
        "batch_size": 5,
        "augmentation": "none",
        "label_smoothing": 0.1,
        "class_weights": "balanced",
    }
    made = batches.build_feed(splits, SIZE, "crop", TrainingSettings(**training), 9)
    assert made == Feed(splits=splits, image_size=SIZE, image_fit="crop", seed=9, **training)


@pytest.mark.parametrize(
    ("augmentation", "epochs", "views"), [("light", 20, 4), ("light", 3, 3), ("none", 20, 0)]
)
def test_there_are_no_more_views_than_epochs_and_none_without_augmentation(
    splits: Splits, augmentation: Literal["none", "light"], epochs: int, views: int
) -> None:
    training = TrainingSettings(augmentation=augmentation, epochs=epochs, views=4)
    assert batches.build_feed(splits, SIZE, "crop", training, 9).views == views

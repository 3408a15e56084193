"""What is predicted of the data, beside what is so, on clusters that are drawn here."""

import numpy as np
import pytest

from job.linear import FeatureGroup, Sample
from job.training import StageFeatures
from tools.suite.forecasts import draw_half, judge_gain, judge_suspects, plant_labels

CLASSES, COLUMNS = 3, 8


def draw_sample(images: int, seed: int) -> Sample:
    """Images of three clusters that hardly touch."""
    labels = np.arange(images) % CLASSES
    centres = 4 * np.eye(CLASSES, COLUMNS)
    noise = np.random.default_rng(seed).normal(size=(images, COLUMNS))
    return Sample(
        features=(centres[labels] + noise).astype(np.float32),
        labels=labels,
        targets=np.eye(CLASSES, dtype=np.float32)[labels],
        weights=np.ones(images, np.float32),
    )


@pytest.fixture(scope="module")
def features() -> StageFeatures:
    return StageFeatures(
        groups=(FeatureGroup("first", 0, 4), FeatureGroup("last", 4, COLUMNS)),
        train=draw_sample(120, seed=0),
        val=draw_sample(60, seed=1),
        test=draw_sample(300, seed=2),
    )


def test_more_images_bring_little_where_few_are_enough(features: StageFeatures) -> None:
    found = judge_gain(features)
    assert found["images"] == 120
    assert abs(found["gain"]) < 2
    assert abs(found["predicted_gain"] - found["gain"]) < 2


def test_planted_labels_are_found_and_little_else(features: StageFeatures) -> None:
    found = judge_suspects(features)
    assert found["judged"] == 480
    assert min(found["precision"]) > 0.7
    assert min(found["recall"]) > 0.9
    assert found["listed_without_planting"] < 8


def test_planted_labels_are_other_classes_and_the_rest_stays(features: StageFeatures) -> None:
    rows, sample = plant_labels(features.train, np.random.default_rng(0))
    changed = np.flatnonzero(sample.labels != features.train.labels)
    assert rows == set(changed.tolist())
    assert len(rows) == 6
    assert np.array_equal(sample.targets.argmax(axis=1), sample.labels)


def test_half_of_the_images_holds_each_class(features: StageFeatures) -> None:
    rows = draw_half(features.train, np.random.default_rng(0))
    assert np.bincount(features.train.labels[rows]).tolist() == [20, 20, 20]
    one_each = features.train.take(np.arange(CLASSES))
    assert len(draw_half(one_each, np.random.default_rng(0))) == CLASSES

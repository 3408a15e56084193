"""The two-sample test that says whether new images differ from known ones."""

import numpy as np
import pytest
from numpy.typing import NDArray

from job.measurement import compare_samples, two_samples

Drawn = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]


def draw(seed: int, shift: float = 0.0, only: int | None = None) -> Drawn:
    """60 images of two classes that are far apart. 12 are new, perhaps of one class alone.

    Args:
        seed: of the draw.
        shift: of the new images, in each feature.
        only: the class that all new images are of.
    """
    chance = np.random.default_rng(seed)
    labels = np.repeat([0, 1], 30)
    features = chance.normal(size=(60, 8)) + 10 * labels[:, None]
    candidates = np.arange(60) if only is None else np.flatnonzero(labels == only)
    is_new = np.zeros(60, bool)
    is_new[chance.choice(candidates, 12, replace=False)] = True
    features[is_new] += shift
    return features.astype(np.float32), labels, is_new


@pytest.mark.parametrize("only", [None, 1])
def test_false_alarms_are_as_rare_as_promised_also_if_one_class_alone_is_new(
    only: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(two_samples, "PERMUTATIONS", 199)
    found = [compare_samples(*draw(seed, only=only), seed) for seed in range(200)]
    alarms = sum(test.p_value <= 0.1 for test in found)
    # Of 200 draws at a rate of 0.1, outside these bounds in one of 2,000 tests.
    assert 6 <= alarms <= 35


def test_a_difference_within_the_classes_is_found() -> None:
    found = compare_samples(*draw(1, shift=1.5), 0)
    assert found.p_value <= 0.001
    assert (found.new, found.known) == (12, 48)
    assert found == compare_samples(*draw(1, shift=1.5), 0)


def test_images_of_classes_that_are_in_one_sample_alone_are_not_compared() -> None:
    features, labels, is_new = draw(2, shift=9.0, only=0)
    labels = np.where(is_new, 2, labels)
    found = compare_samples(features, labels, is_new, 0)
    assert (found.p_value, found.new, found.known) == (1.0, 0, 0)


def test_features_that_never_change_are_no_difference() -> None:
    _, labels, is_new = draw(3)
    assert compare_samples(np.ones((60, 4), np.float32), labels, is_new, 0).p_value == 1.0

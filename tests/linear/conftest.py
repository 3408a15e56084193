"""What the tests of linear heads share: scikit-learn's digits, whose pixels serve as features."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.datasets import load_digits

from job.linear import Group, Sample

# The upper and the lower half of the picture stand for two stages of a network.
HALVES = (Group("upper", 0, 32), Group("lower", 32, 64))


def build_sample(features: np.ndarray, labels: np.ndarray) -> Sample:
    width = int(labels.max()) + 1
    return Sample(
        features=features.astype(np.float32),
        labels=labels.astype(np.int64),
        targets=np.eye(width, dtype=np.float32)[labels],
        weights=np.ones(len(labels), np.float32),
    )


@pytest.fixture(scope="session")
def digits() -> Sample:
    """1,797 pictures of 64 pixels in a random order."""
    features, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return build_sample(features[order], labels[order])


@pytest.fixture
def part(digits: Sample) -> Callable[[int, int], Sample]:
    return lambda start, stop: digits.take(np.arange(start, stop))

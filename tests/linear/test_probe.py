"""The solved head against scikit-learn's optimum, and what it makes of odd features."""

from itertools import pairwise

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from job.linear import PENALTIES, solve_path


def sample(
    n: int = 60, width: int = 7, classes: int = 3
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(features, labels, targets): three overlapping clouds on scales that differ."""
    random = np.random.default_rng(1)
    labels = random.integers(0, classes, n)
    features = random.normal(0, 1, (n, width)) + random.normal(0, 1, (classes, width))[labels]
    features = (features * np.logspace(-2, 2, width) + 5).astype(np.float32)
    return features, labels, np.eye(classes, dtype=np.float32)[labels]


def ones(n: int) -> np.ndarray:
    return np.ones(n, np.float32)


def probabilities(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("place", [0, 4, 8])
def test_the_probe_is_the_optimum_that_scikit_learn_finds(place: int) -> None:
    features, labels, targets = sample()
    probe = list(solve_path(features, targets, ones(60)))[place]
    scaler = StandardScaler().fit(features.astype(np.float64))
    rival = LogisticRegression(C=1 / PENALTIES[place], tol=1e-9, max_iter=5000)
    rival.fit(scaler.transform(features), labels)
    expected = rival.predict_proba(scaler.transform(features))
    np.testing.assert_allclose(probabilities(probe.logits(features)), expected, atol=5e-3)


def test_a_weight_of_two_is_the_image_twice() -> None:
    # The standardisation sees images, not weights: whole copies of the set keep it as it is.
    features, _, targets = sample()
    weights = np.concatenate([2 * ones(60), ones(60)])
    twice = [np.concatenate([rows, rows]) for rows in (features, targets)]
    thrice = next(solve_path(twice[0], twice[1], weights))
    once = next(solve_path(twice[0], twice[1], ones(120)))
    np.testing.assert_allclose(thrice.logits(features), once.logits(features), atol=1e-3)


def test_weights_pull_the_boundary_towards_the_light_class() -> None:
    features, labels, targets = sample()
    heavy = np.where(labels == 0, 20, 1).astype(np.float32)
    counts = []
    for weights in (ones(60), heavy):
        probe = next(solve_path(features, targets, weights))
        counts.append((probe.logits(features).argmax(1) == 0).sum())
    plain, pulled = counts
    assert pulled > plain


def test_soft_targets_are_a_mixture_of_the_hard_ones() -> None:
    features, _, targets = sample()
    soft = (0.8 * targets + 0.2 / 3).astype(np.float32)
    standardised = StandardScaler().fit_transform(features.astype(np.float64))
    rival = LogisticRegression(C=1 / PENALTIES[4], tol=1e-9, max_iter=5000)
    rival.fit(np.tile(standardised, (3, 1)), np.repeat([0, 1, 2], 60), sample_weight=soft.T.ravel())
    probe = list(solve_path(features, soft, ones(60)))[4]
    np.testing.assert_allclose(
        probabilities(probe.logits(features)), rival.predict_proba(standardised), atol=5e-3
    )


def test_a_dead_feature_changes_nothing_and_gets_no_weight() -> None:
    features, _, targets = sample()
    dead = np.concatenate([features, np.zeros((60, 1)), np.full((60, 1), 0.1)], axis=1).astype(
        np.float32
    )
    alone, beside = (
        next(solve_path(features, targets, ones(60))),
        next(solve_path(dead, targets, ones(60))),
    )
    np.testing.assert_allclose(beside.logits(dead), alone.logits(features), atol=1e-3)
    assert np.abs(beside.kernel[-2:]).max() < 1e-6


@pytest.mark.parametrize("size", [1e-12, 1e-6, 1e6])
def test_the_size_of_the_features_is_of_no_matter(size: float) -> None:
    # A random EfficientNetLite0 has features of 1e-12: by an absolute threshold all of them were
    # dead.
    features, _, targets = sample()
    small = (features * np.float32(size)).astype(np.float32)
    expected, received = (
        next(solve_path(features, targets, ones(60))),
        next(solve_path(small, targets, ones(60))),
    )
    np.testing.assert_allclose(received.logits(small), expected.logits(features), atol=1e-2)


def test_the_path_goes_from_strong_to_weak_regularisation() -> None:
    features, _, targets = sample()
    norms = [
        float(np.linalg.norm(probe.kernel)) for probe in solve_path(features, targets, ones(60))
    ]
    # Each is solved to a millionth of the loss, at whose weak end the kernel hardly matters.
    assert all(later > 0.999 * earlier for earlier, later in pairwise(norms))
    assert norms[-1] > 5 * norms[0]

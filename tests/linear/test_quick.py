"""One penalty, solved quickly: the same optimum as on the path, and as scikit-learn's."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from job.linear import PENALTIES, Probe, Sample, join, quick, solve, solve_path, spread
from job.scores import log_loss
from tests.linear.conftest import HALVES, build_sample

Part = Callable[[int, int], Sample]


def probabilities(probe: Probe, sample: Sample) -> np.ndarray:
    return softmax(probe.logits(sample.features).astype(np.float64), axis=1)


def find_on_path(sample: Sample, penalty: float, factors: np.ndarray | None = None) -> Probe:
    path = solve_path(sample.features, sample.targets, sample.weights, factors)
    return next(probe for probe in path if probe.penalty == penalty)


@pytest.mark.parametrize("penalty", [PENALTIES[0], PENALTIES[2]])
@pytest.mark.parametrize("images", [40, 600], ids=["fewer images than features", "more of them"])
def test_the_quick_head_is_the_one_on_the_path(part: Part, penalty: float, images: int) -> None:
    sample = part(0, images)
    quick = solve(sample, penalty)
    slow = find_on_path(sample, penalty)
    unseen = part(600, 1000)
    np.testing.assert_allclose(probabilities(quick, unseen), probabilities(slow, unseen), atol=0.03)
    assert quick.penalty == penalty


@pytest.mark.parametrize("penalty", PENALTIES[6:])
def test_a_weak_penalty_alone_generalises_as_on_the_path(digits: Sample, penalty: float) -> None:
    # Few images and many features, most of which are noise: a head soon knows them by heart.
    generator = np.random.default_rng(1)
    features = digits.features @ generator.normal(size=(64, 1000)) / 16
    features += 0.02 * generator.normal(size=features.shape)
    wide = build_sample(features, digits.labels)
    sample, unseen = wide.take(np.arange(60)), wide.take(np.arange(600, 1000))
    alone = log_loss(unseen.labels, solve(sample, penalty).logits(unseen.features))
    path = log_loss(unseen.labels, find_on_path(sample, penalty).logits(unseen.features))
    assert alone < 1.15 * path


def test_the_quick_head_is_the_optimum_that_scikit_learn_finds(part: Part) -> None:
    sample, unseen = part(0, 600), part(600, 1000)
    scaler = StandardScaler().fit(sample.features)
    rival = LogisticRegression(C=1 / 3, tol=1e-9, max_iter=5000)
    rival.fit(scaler.transform(sample.features), sample.labels)
    expected = rival.predict_proba(scaler.transform(unseen.features))
    np.testing.assert_allclose(probabilities(solve(sample, 3), unseen), expected, atol=0.02)


@pytest.mark.parametrize("place", [0, 2, 4])
def test_the_loss_on_the_path_is_within_two_percent_of_the_least(part: Part, place: int) -> None:
    sample, penalty = part(0, 600), PENALTIES[place]
    scaler = StandardScaler().fit(sample.features)
    columns = scaler.transform(sample.features).astype(np.float64)

    def compute_loss(kernel: np.ndarray, bias: np.ndarray) -> float:
        """On standardised features: kernel [d, classes], bias [classes]."""
        likelihoods = log_softmax(columns @ kernel + bias, axis=1)
        own = likelihoods[np.arange(600), sample.labels]
        return float(-own.sum() + penalty / 2 * (kernel**2).sum())

    rival = LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=5000)
    rival.fit(columns, sample.labels)
    ours = find_on_path(sample, penalty)
    # The bias on raw features holds their means.
    bias = ours.bias + scaler.mean_ @ ours.kernel
    least = compute_loss(rival.coef_.T, rival.intercept_)
    assert compute_loss(ours.kernel * scaler.scale_[:, None], bias) < 1.02 * least


def test_images_that_are_taken_in_turns_give_the_same_head(
    part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of many classes not all images are compared at once, which bounds the memory.
    sample = part(0, 300)
    whole = solve(sample, 1.0)
    monkeypatch.setattr(quick, "MOST_NUMBERS", 70 * sample.classes)
    np.testing.assert_allclose(
        probabilities(solve(sample, 1.0), sample), probabilities(whole, sample), atol=1e-3
    )


def test_factors_are_a_penalty_of_its_own_for_each_group(part: Part) -> None:
    # Scikit-learn knows one penalty only, but it may be given columns that are scaled.
    sample, unseen = part(0, 600), part(600, 1000)
    factors = spread(HALVES, [0.2, 1.5])
    scaler = StandardScaler().fit(sample.features)
    rival = LogisticRegression(C=1.0, tol=1e-9, max_iter=5000)
    rival.fit(scaler.transform(sample.features) * factors, sample.labels)
    expected = rival.predict_proba(scaler.transform(unseen.features) * factors)
    for probe in (find_on_path(sample, 1.0, factors), solve(sample, 1.0, factors)):
        np.testing.assert_allclose(probabilities(probe, unseen), expected, atol=0.03)


def test_a_factor_of_zero_leaves_a_group_out(part: Part) -> None:
    sample = part(0, 300)
    factors = spread(HALVES, [0, 1])
    lower = Sample(
        features=sample.features[:, 32:],
        labels=sample.labels,
        targets=sample.targets,
        weights=sample.weights,
    )
    alone = find_on_path(lower, 1.0)
    among = find_on_path(sample, 1.0, factors)
    assert not among.kernel[:32].any()
    np.testing.assert_allclose(among.kernel[32:], alone.kernel, atol=1e-5)
    assert not solve(sample, 1.0, factors).kernel[:32].any()


def test_factors_of_one_change_no_byte_of_the_path(part: Part) -> None:
    sample = part(0, 200)
    plain, ones = find_on_path(sample, 1.0), find_on_path(sample, 1.0, np.ones(64))
    assert plain.kernel.tobytes() == ones.kernel.tobytes()
    assert plain.bias.tobytes() == ones.bias.tobytes()


def test_a_factor_of_two_is_a_quarter_of_the_penalty(part: Part) -> None:
    sample = part(0, 600)
    np.testing.assert_allclose(
        probabilities(solve(sample, 4, 2 * np.ones(64)), sample),
        probabilities(solve(sample, 1), sample),
        atol=0.01,
    )


def test_a_heavy_image_counts_as_several(part: Part) -> None:
    # The standardisation sees images, not weights: whole copies keep it as it is.
    sample = part(0, 200)
    heavy = Sample(
        features=np.tile(sample.features, (2, 1)),
        labels=np.tile(sample.labels, 2),
        targets=np.tile(sample.targets, (2, 1)),
        weights=np.repeat(np.array([2, 1], np.float32), 200),
    )
    np.testing.assert_allclose(
        probabilities(solve(heavy, 10), sample),
        probabilities(solve(join(sample, sample), 10), sample),
        atol=0.01,
    )

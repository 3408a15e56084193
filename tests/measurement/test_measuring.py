"""Profile, learning curve and the square, on scikit-learn's digits."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from job.linear import FeatureGroup, Sample
from job.measurement import ALL_STAGES, CurvePoint, Measurement, measure, predict_gain
from job.measurement.curve import order_by_class
from job.measurement.profile import compute_interval
from tests.linear.conftest import build_sample

# Two rows of the picture, then all others: the last stage knows nearly everything.
STAGES = (FeatureGroup("top rows", 0, 16), FeatureGroup("other rows", 16, 64))

Part = Callable[[int, int], Sample]


@pytest.fixture(scope="module")
def part() -> Part:
    features, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    digits = build_sample(features[order], labels[order])
    return lambda start, stop: digits.take(np.arange(start, stop))


@pytest.fixture(scope="module")
def measured(part: Part) -> Measurement:
    return measure(part(0, 600), part(600, 1200), STAGES, "accuracy")


def build_measurement(doubling: float, earlier: float) -> Measurement:
    return Measurement(
        metric="accuracy",
        images=10,
        judged=10,
        folds=0,
        profile=(),
        curve=(),
        doubling=doubling,
        earlier_stages_add=earlier,
    )


def test_each_stage_scores_as_scikit_learn_does_on_its_columns(
    part: Part, measured: Measurement
) -> None:
    train, val = part(0, 600), part(600, 1200)
    columns = [slice(0, 16), slice(16, 64), slice(0, 64)]
    for stage, chosen in zip(measured.profile, columns, strict=True):
        rival = make_pipeline(
            StandardScaler(), LogisticRegression(C=1 / stage.penalty, max_iter=2000)
        )
        rival.fit(train.features[:, chosen], train.labels)
        expected = rival.score(val.features[:, chosen], val.labels)
        assert stage.score == pytest.approx(expected, abs=0.015)
        assert stage.low < stage.score < stage.high


def test_the_last_row_of_the_profile_is_all_stages(measured: Measurement) -> None:
    assert [(stage.stage, stage.dimensions) for stage in measured.profile] == [
        ("top rows", 16),
        ("other rows", 48),
        (ALL_STAGES, 64),
    ]
    last, everything = measured.profile[-2:]
    assert measured.earlier_stages_add == everything.score - last.score


def test_the_curve_has_five_draws_of_each_share_and_one_of_the_whole(measured: Measurement) -> None:
    assert [point.images for point in measured.curve] == [60, 120, 240, 480, 600]
    assert [len(point.scores) for point in measured.curve] == [5, 5, 5, 5, 1]
    assert len(set(measured.curve[0].scores)) > 1


def test_more_images_score_higher(measured: Measurement) -> None:
    scores = [point.score for point in measured.curve]
    assert scores == sorted(scores)


def test_few_images_that_are_known_by_heart_score_higher_with_more_too(part: Part) -> None:
    few = measure(part(0, 50), part(600, 1200), STAGES, "accuracy")
    scores = [point.score for point in few.curve]
    assert scores == sorted(scores)
    best = max(stage.score for stage in few.profile)
    assert few.curve[-1].score == pytest.approx(best, abs=0.03)


def test_the_predicted_gain_of_twice_the_images_comes_true(
    part: Part, measured: Measurement
) -> None:
    # The curve of half of the images has never seen the other half.
    val = part(600, 1200)
    half = measure(part(0, 300), val, STAGES, "accuracy")
    gained = measured.curve[-1].score - half.curve[-1].score
    assert half.doubling == pytest.approx(gained, abs=0.02)


def test_a_second_measurement_is_the_first_one(part: Part, measured: Measurement) -> None:
    assert measure(part(0, 600), part(600, 1200), STAGES, "accuracy") == measured


def test_few_validation_images_are_judged_by_folds(part: Part) -> None:
    result = measure(part(0, 200), part(200, 250), STAGES, "macro_f1")
    assert (result.folds, result.judged, result.images) == (5, 250, 200)
    for stage in result.profile:
        assert stage.low < stage.score < stage.high


def test_the_facts_are_json_with_the_fields_of_the_report(measured: Measurement) -> None:
    facts = json.loads(json.dumps(measured.facts(), allow_nan=False))
    assert list(facts) == [
        "metric",
        "images",
        "judged",
        "folds",
        "profile",
        "curve",
        "doubling",
        "earlier_stages_add",
        "kind",
        "amount",
    ]
    assert list(facts["profile"][0]) == ["stage", "dimensions", "score", "low", "high"]
    assert list(facts["curve"][0]) == ["images", "scores", "score"]


@pytest.mark.parametrize(
    ("doubling", "earlier", "amount", "kind"),
    [
        (0.019, 0.019, "much", "like"),
        (0.021, 0.019, "little", "like"),
        (0.019, 0.021, "much", "unlike"),
        (-0.1, -0.1, "much", "like"),
    ],
)
def test_the_middle_of_the_square_is_at_two_points(
    doubling: float, earlier: float, amount: str, kind: str
) -> None:
    result = build_measurement(doubling, earlier)
    assert (result.amount, result.kind) == (amount, kind)


def test_the_place_in_the_square_is_between_nothing_and_one() -> None:
    assert build_measurement(0.02, 0).sufficiency == pytest.approx(0.5)
    assert build_measurement(0, -1).likeness == 1
    assert 0 < build_measurement(0, 1).likeness < 0.05


def test_a_power_law_is_continued() -> None:
    counts = (100, 200, 400, 800, 1000)
    curve = [CurvePoint(count, (1 - 2 * count**-0.5,)) for count in counts]
    expected = 2 * (1000**-0.5 - 2000**-0.5)
    assert predict_gain(curve, judged=10_000) == pytest.approx(expected, rel=1e-6)


def test_a_curve_that_falls_predicts_no_gain() -> None:
    curve = [CurvePoint(count, (0.9 - count / 10_000,)) for count in (100, 200, 400)]
    assert predict_gain(curve, judged=1000) == 0


def test_a_curve_without_errors_predicts_next_to_nothing() -> None:
    curve = [CurvePoint(count, (1.0,)) for count in (100, 200, 400)]
    assert abs(predict_gain(curve, judged=500)) < 0.001


def test_each_start_of_an_order_by_class_is_stratified() -> None:
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    np.random.default_rng(0).shuffle(labels)
    order = order_by_class(labels, np.random.default_rng(1))
    assert sorted(order) == list(range(100))
    assert set(labels[order[:3]]) == {0, 1, 2}
    for size in (20, 50):
        counts = np.bincount(labels[order[:size]])
        np.testing.assert_allclose(counts, np.array([0.6, 0.3, 0.1]) * size, atol=1.01)


def test_the_interval_of_another_metric_is_about_that_of_the_accuracy() -> None:
    random = np.random.default_rng(0)
    labels = np.tile([0, 1], 200)
    called = np.where(random.random(400) < 0.8, labels, 1 - labels)
    logits = np.eye(2, dtype=np.float32)[called]
    exact = compute_interval("accuracy", labels, logits)
    drawn = compute_interval("balanced_accuracy", labels, logits)
    np.testing.assert_allclose(drawn, exact, atol=0.015)

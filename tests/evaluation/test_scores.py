import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from job.evaluation import compare_paired, compute_scores, fit_temperature
from job.evaluation.calibration import (
    compute_calibration_error,
    compute_coverage,
    compute_reliability,
    find_abstention_thresholds,
)
from job.scores import METRICS, compute_wilson_interval


def one_hot(calls: list[int], width: int) -> NDArray[np.float32]:
    return np.eye(width, dtype=np.float32)[calls]


def drawn(images: int, width: int, seed: int = 7) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Labels and logits of a model that is often right and overconfident by a factor of 3."""
    generator = np.random.default_rng(seed)
    honest = generator.normal(size=(images, width)) * 1.5
    chances = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    labels = np.array([generator.choice(width, p=row) for row in chances], dtype=np.int64)
    return labels, (3 * honest).astype(np.float32)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_scores_agree_with_scikit_learn() -> None:
    labels, logits = drawn(400, 8)
    probabilities, called = softmax(logits), logits.argmax(axis=1)
    result = compute_scores(labels, probabilities, [f"c{index}" for index in range(8)])
    assert result["accuracy"] == pytest.approx(accuracy_score(labels, called))
    assert result["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, called))
    assert result["macro_f1"] == pytest.approx(f1_score(labels, called, average="macro"))
    assert result["log_loss"] == pytest.approx(log_loss(labels, probabilities), rel=1e-5)
    assert result["top_k"] == pytest.approx(
        top_k_accuracy_score(labels, probabilities, k=result["k"])
    )
    columns = precision_recall_fscore_support(labels, called)
    for row, wanted in zip(result["per_class"], zip(*columns, strict=True), strict=True):
        assert (row["precision"], row["recall"], row["f1"], row["support"]) == pytest.approx(wanted)


def test_confusion_names_the_cells_that_hold_images() -> None:
    result = compute_scores(np.array([0, 0, 1, 1, 1]), one_hot([0, 1, 1, 1, 0], 2), ["cat", "dog"])
    assert result["confusion"] == [
        {"true": "cat", "predicted": "cat", "images": 1},
        {"true": "cat", "predicted": "dog", "images": 1},
        {"true": "dog", "predicted": "cat", "images": 1},
        {"true": "dog", "predicted": "dog", "images": 2},
    ]


def test_a_class_absent_from_the_test_does_not_count_in_a_mean() -> None:
    result = compute_scores(np.array([0, 0, 1, 1]), one_hot([0, 0, 1, 2], 3), ["a", "b", "c"])
    assert result["balanced_accuracy"] == pytest.approx((1 + 0.5) / 2)
    assert result["macro_f1"] == pytest.approx((1 + 2 / 3) / 2)
    row = result["per_class"][2]
    assert row.pop("precision_high") == pytest.approx(0.793, abs=1e-3)
    assert row == {
        "name": "c",
        "support": 0,
        "precision": 0.0,
        "precision_low": pytest.approx(0, abs=1e-12),
        "recall": None,
        "recall_low": None,
        "recall_high": None,
        "f1": None,
    }


def test_no_image_at_all_scores_zero_so_no_gate_is_passed() -> None:
    nothing = np.zeros(0, np.int64), np.zeros((0, 3), np.float32)
    result = compute_scores(*nothing, ["a", "b", "c"])
    json.dumps(result, allow_nan=False)
    assert (
        result["accuracy"],
        result["accuracy_low"],
        result["accuracy_high"],
        result["log_loss"],
    ) == (
        0.0,
        0.0,
        1.0,
        None,
    )
    assert result["balanced_accuracy"] == result["macro_f1"] == result["top_k"] == 0.0
    assert compute_reliability(*nothing) == find_abstention_thresholds(*nothing) == []
    assert compute_calibration_error([]) is None
    assert {row["images"] for row in compute_coverage(*nothing)} == {0}


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 8), st.integers(2, 8), st.integers(0, 1000))
def test_few_images_neither_fail_nor_warn(images: int, width: int, seed: int) -> None:
    labels, logits = drawn(images, width, seed)
    result = compute_scores(labels, softmax(logits), [str(index) for index in range(width)])
    json.dumps(
        [
            result,
            compute_coverage(labels, softmax(logits)),
            find_abstention_thresholds(labels, softmax(logits)),
        ],
        allow_nan=False,
    )
    assert all(
        0 <= result[name] <= 1 for name in (*METRICS, "top_k", "accuracy_low", "accuracy_high")
    )


def test_the_top_k_accuracy_comes_with_its_k() -> None:
    labels = np.array([0, 1])
    probabilities = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]], np.float32)
    result = compute_scores(labels, probabilities, list("abcd"))
    assert (result["k"], result["top_k"]) == (3, 0.5)
    assert compute_scores(np.array([9]), one_hot([0], 10), list("abcdefghij"))["k"] == 5


def test_twenty_thousand_classes_cost_no_dense_matrix() -> None:
    labels = np.arange(300)
    result = compute_scores(
        labels, one_hot(list(labels), 20_000), [str(index) for index in range(20_000)]
    )
    assert result["accuracy"] == result["macro_f1"] == 1.0
    assert len(result["confusion"]) == 300


def test_precision_and_recall_of_each_class_have_wilsons_interval() -> None:
    labels = np.array([0] * 10 + [1] * 40)
    calls = [0] * 9 + [1] + [1] * 38 + [0] * 2
    first, second = compute_scores(labels, one_hot(calls, 2), ["few", "many"])["per_class"]
    assert (first["recall_low"], first["recall_high"]) == compute_wilson_interval(9, 10)
    assert (first["precision_low"], first["precision_high"]) == compute_wilson_interval(9, 11)
    assert (second["recall_low"], second["recall_high"]) == compute_wilson_interval(38, 40)
    assert first["recall_high"] - first["recall_low"] > second["recall_high"] - second["recall_low"]


@given(hits=st.integers(0, 300), others=st.integers(0, 300))
def test_the_interval_is_that_of_scipy_bit_by_bit(hits: int, others: int) -> None:
    images = hits + others
    assume(images)
    expected = binomtest(hits, images).proportion_ci(0.95, method="wilson")
    assert compute_wilson_interval(hits, images) == (expected.low, expected.high)


def test_the_interval_is_wilsons() -> None:
    assert compute_wilson_interval(42, 46) == pytest.approx((0.797, 0.966), abs=1e-3)
    assert compute_wilson_interval(0, 5)[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("metric", list(METRICS))
def test_a_better_model_beats_a_worse_one(metric: str) -> None:
    labels = np.random.default_rng(1).integers(4, size=200)
    better = np.where(np.arange(200) % 10 == 0, (labels + 1) % 4, labels)
    worse = np.where(np.arange(200) % 3 == 0, (labels + 1) % 4, labels)
    result = compare_paired(labels, one_hot(list(better), 4), one_hot(list(worse), 4), metric)
    assert result.challenger - result.champion > result.low > 0
    assert result.high > result.challenger - result.champion
    assert result.images == 200
    assert result == compare_paired(
        labels, one_hot(list(better), 4), one_hot(list(worse), 4), metric
    )


def test_equal_models_differ_by_nothing() -> None:
    labels, logits = drawn(60, 3)
    assert compare_paired(labels, softmax(logits), softmax(logits), "accuracy")[2:] == (
        0.0,
        0.0,
        60,
    )


def test_a_champion_that_knows_none_of_the_classes_is_wrong() -> None:
    result = compare_paired(
        np.zeros(5, np.int64), one_hot([0] * 5, 2), np.zeros((5, 2), np.float32), "accuracy"
    )
    assert result[:2] == (1.0, 0.0)


def test_without_an_image_nothing_is_known_about_the_difference() -> None:
    nothing = np.zeros((0, 2), np.float32)
    assert compare_paired(np.zeros(0, np.int64), nothing, nothing, "macro_f1") == (
        0.0,
        0.0,
        -1.0,
        1.0,
        0,
    )


def test_the_interval_is_as_wide_as_the_spread_of_the_differences() -> None:
    generator, labels = np.random.default_rng(3), np.zeros(900, np.int64)
    ours, theirs = (list((generator.random(900) < wrong).astype(int)) for wrong in (0.2, 0.3))
    result = compare_paired(labels, one_hot(ours, 2), one_hot(theirs, 2), "accuracy")
    # 1 where only the challenger is right, -1 where only the champion is.
    differences = np.array(theirs) - np.array(ours)
    half = 1.96 * differences.std() / np.sqrt(900)
    assert (result.low, result.high) == pytest.approx(
        (differences.mean() - half, differences.mean() + half), abs=0.004
    )


def test_the_temperature_finds_how_overconfident_the_model_is() -> None:
    labels, logits = drawn(4000, 5)
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(3, rel=0.08)
    before = compute_calibration_error(compute_reliability(labels, softmax(logits)))
    after = compute_calibration_error(
        compute_reliability(labels, softmax(logits / np.float32(temperature)))
    )
    assert before is not None
    assert after is not None
    assert before > 0.2
    assert after < 0.03


@pytest.mark.parametrize(
    ("labels", "logits"),
    [
        pytest.param([0] * 9, [[0, 1.0]] * 9, id="fewer than ten images"),
        pytest.param([0, 1] * 10, [[1.0, 0], [0, 1.0]] * 10, id="every image right"),
        pytest.param([], np.zeros((0, 2)), id="no image"),
    ],
)
def test_the_temperature_stays_one_without_evidence(
    labels: list[int], logits: list[list[float]]
) -> None:
    assert fit_temperature(np.array(logits, np.float32), np.array(labels, np.int64)) == 1.0


def test_a_model_that_is_always_wrong_is_cooled_to_the_bound_and_no_further() -> None:
    assert fit_temperature(one_hot([1] * 20, 2), np.zeros(20, np.int64)) == pytest.approx(
        20, rel=0.01
    )


def test_calibration_error_is_the_weighted_gap() -> None:
    probabilities = np.array([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10, np.float32)
    labels = np.array([0] * 10 + [0] * 4 + [1] * 6)
    bins = compute_reliability(labels, probabilities)
    assert [(row["images"], row["accuracy"]) for row in bins] == [(10, 0.4), (10, 1.0)]
    assert compute_calibration_error(bins) == pytest.approx((0.2 + 0.1) / 2)


def test_certainty_is_in_the_last_bin() -> None:
    (row,) = compute_reliability(np.array([0, 1]), one_hot([0, 1], 2))
    assert (row["low"], row["high"], row["images"]) == (14 / 15, 1.0, 2)


def test_coverage_falls_and_counts_what_is_kept() -> None:
    labels = np.array([0, 0, 0, 0])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.55, 0.45]], np.float32)
    rows = {row["threshold"]: row for row in compute_coverage(labels, probabilities)}
    assert (rows[0.0]["coverage"], rows[0.0]["accuracy"]) == (1.0, 0.75)
    assert (rows[0.75]["images"], rows[0.75]["accuracy"]) == (2, 1.0)
    assert (rows[0.95]["images"], rows[0.95]["accuracy"]) == (0, None)


def test_abstention_keeps_as_many_answers_as_the_target_allows() -> None:
    confidences = np.linspace(0.99, 0.51, 20)
    probabilities = np.stack([confidences, 1 - confidences], axis=1).astype(np.float32)
    labels = np.array([0] * 12 + [1] + [0] * 3 + [1] * 4)
    rows = {row["target"]: row for row in find_abstention_thresholds(labels, probabilities)}
    assert (rows[0.9]["images"], rows[0.95]["images"], rows[0.99]["images"]) == (16, 12, 12)
    assert rows[0.9]["threshold"] == pytest.approx(confidences[15])


def test_images_of_one_confidence_are_answered_or_left_together() -> None:
    probabilities = np.array([[0.9, 0.1]] * 4, np.float32)
    assert find_abstention_thresholds(np.array([0, 0, 0, 1]), probabilities) == []

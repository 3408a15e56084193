"""The gating scores against scikit-learn's."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics

from job.scores import METRICS, Tally, log_loss, mean, score

LABELS = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 2])
LOGITS = np.random.default_rng(5).normal(0, 1, (10, 4)).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
def test_each_metric_is_scikit_learns_over_the_classes_that_are_present(metric: str) -> None:
    predicted, present = LOGITS.argmax(1), [0, 1, 2]
    rivals = {
        "accuracy": metrics.accuracy_score(LABELS, predicted),
        "balanced_accuracy": metrics.recall_score(
            LABELS, predicted, labels=present, average="macro", zero_division=0
        ),
        "macro_f1": metrics.f1_score(
            LABELS, predicted, labels=present, average="macro", zero_division=0
        ),
    }
    assert score(metric, LABELS, LOGITS) == pytest.approx(rivals[metric])


def test_log_loss_is_scikit_learns_and_survives_extreme_logits() -> None:
    expected = metrics.log_loss(LABELS, softmax(LOGITS.astype(np.float64), axis=1), labels=range(4))
    assert log_loss(LABELS, LOGITS) == pytest.approx(expected)
    assert log_loss(np.array([1]), np.array([[1e4, -1e4]], np.float32)) == pytest.approx(2e4)


def test_a_prediction_beyond_the_classes_is_wrong_and_nothing_else() -> None:
    tally = Tally.of(np.array([0, 1]), np.array([0, 2]), 2)
    assert (tally.hits.tolist(), tally.support.tolist(), tally.predicted.tolist()) == (
        [1, 0],
        [1, 1],
        [1, 0],
    )


def test_nothing_scores_zero() -> None:
    nothing = Tally.of(np.array([], np.int64), np.array([], np.int64), 3)
    assert [metric(nothing) for metric in METRICS.values()] == [0, 0, 0]
    assert mean(np.array([])) == 0

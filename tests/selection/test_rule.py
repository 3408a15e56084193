"""The winner of a race: the best, unless a cheaper candidate is as good."""

import numpy as np
import pytest

from job.selection import (
    Judged,
    choose_metric,
    choose_winner,
    compute_paired_error,
    is_out_of_reach,
)

LABELS = np.arange(1000) % 4


def answer(name: str, work: float, wrong: range | list[int], labels: np.ndarray = LABELS) -> Judged:
    """A candidate that names the next class for some images, and the right one for the others."""
    named = labels.copy()
    named[list(wrong)] = (named[list(wrong)] + 1) % 4
    return Judged(name, work, 4 * np.eye(4, dtype=np.float32)[named])


def test_the_best_wins_where_the_difference_is_clear() -> None:
    winner = choose_winner(
        [answer("none", 0.1, range(100)), answer("all", 1.0, range(50))], LABELS, "accuracy"
    )
    assert winner.name == "all"
    assert "all reaches 0.950, the next best candidate 0.900" in winner.reason


def test_a_cheaper_candidate_wins_within_one_standard_error() -> None:
    # Ten images each that the other one gets right: the error of the difference is 0.45 points.
    cheap = answer("none", 0.1, range(14))
    best = answer("all", 1.0, range(14, 24))
    winner = choose_winner([cheap, best], LABELS, "accuracy")
    assert winner.name == "none"
    assert "within one standard error" in winner.reason


def test_few_images_prefer_what_changes_least() -> None:
    labels = LABELS[:40]
    judged = [answer("none", 0.1, [0, 1, 2], labels), answer("all", 1.0, [3, 4], labels)]
    error = compute_paired_error(judged[0].logits, judged[1].logits, labels, "accuracy")
    assert error > 0.025
    assert choose_winner(judged, labels, "accuracy").name == "none"


def test_more_than_a_point_is_not_given_away_where_enough_images_judge() -> None:
    labels = LABELS[:200]
    judged = [
        answer("none", 0.1, range(10), labels),
        answer("all", 1.0, range(10, 17), labels),
    ]
    error = compute_paired_error(judged[0].logits, judged[1].logits, labels, "accuracy")
    assert error > 0.015
    assert choose_winner(judged, labels, "accuracy").name == "all"


def test_among_equal_scores_the_cheapest_wins() -> None:
    candidates = [answer(name, work, range(9)) for name, work in (("all", 1.0), ("none", 0.1))]
    assert choose_winner(candidates, LABELS, "accuracy").name == "none"


def test_a_single_candidate_wins_and_says_so() -> None:
    winner = choose_winner([answer("none", 0.1, range(9))], LABELS, "accuracy")
    assert winner.name == "none"
    assert "budget" in winner.reason


def test_the_paired_error_is_that_of_a_mean_of_differences() -> None:
    one, other = answer("a", 1, range(30)), answer("b", 1, range(20, 60))
    difference = np.zeros(1000)
    difference[:20] = -1
    difference[30:60] = 1
    expected = difference.std() / np.sqrt(1000)
    found = compute_paired_error(one.logits, other.logits, LABELS, "accuracy")
    assert found == pytest.approx(expected)
    # With classes of one size both metrics are the same mean.
    balanced = compute_paired_error(one.logits, other.logits, LABELS, "balanced_accuracy")
    assert balanced == pytest.approx(expected, rel=0.01)


def test_unequal_classes_are_compared_by_their_balanced_accuracy() -> None:
    assert choose_metric("accuracy", np.array([0] * 30 + [1] * 10)) == "accuracy"
    assert choose_metric("accuracy", np.array([0] * 31 + [1] * 10)) == "balanced_accuracy"
    assert choose_metric("macro_f1", np.array([0] * 31 + [1] * 10)) == "macro_f1"


def test_twice_the_errors_of_a_solved_head_are_out_of_reach() -> None:
    assert is_out_of_reach(0.89, 0.95, images=1000)
    assert not is_out_of_reach(0.91, 0.95, images=1000)
    # A solved head that is often wrong leaves room.
    assert not is_out_of_reach(0.50, 0.70, images=1000)


def test_of_a_head_without_errors_one_image_less_is_out_of_reach() -> None:
    assert is_out_of_reach(1 - 1 / 50, 1.0, images=50)
    assert not is_out_of_reach(1.0, 1.0, images=50)

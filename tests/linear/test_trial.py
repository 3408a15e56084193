"""What judges a head: validation images, or folds where those are few."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from job.linear import (
    COARSE_PENALTIES,
    LEAST_JUDGED,
    PENALTIES,
    Sample,
    assign_folds,
    choose_factors,
    choose_penalty,
    choose_penalty_by_folds,
    out_of_fold,
    set_folds,
    set_trial,
    solve,
)
from job.scores import score
from tests.linear.conftest import HALVES, build_sample

Part = Callable[[int, int], Sample]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(2, 6))
def test_folds_hold_each_class_evenly_and_each_image_once(labels: list[int], folds: int) -> None:
    places = assign_folds(np.array(labels), folds)
    assert set(places) <= set(range(folds))
    for chosen in (np.ones(len(labels), bool), *(np.array(labels) == name for name in set(labels))):
        sizes = np.bincount(places[chosen], minlength=folds)
        assert sizes.max() - sizes.min() <= 1


def test_folds_depend_on_the_order_of_the_images_alone() -> None:
    labels = np.random.default_rng(0).integers(0, 4, 100)
    assert assign_folds(labels).tolist() == assign_folds(labels.copy()).tolist()


def test_few_validation_images_are_judged_out_of_fold_together_with_train(part: Part) -> None:
    few = set_trial(part(0, 300), part(300, 300 + LEAST_JUDGED - 1))
    assert few.folds == 5
    assert sorted(few.judged) == list(range(300 + LEAST_JUDGED - 1))
    enough = set_trial(part(0, 300), part(300, 300 + LEAST_JUDGED))
    assert enough.folds == 0
    assert enough.judged.tolist() == list(range(300, 300 + LEAST_JUDGED))


def test_no_image_is_judged_by_a_head_that_has_learnt_from_it(part: Part) -> None:
    for each in set_folds(part(0, 100)).rounds:
        assert not set(each.learnt) & set(each.judged)


def test_out_of_fold_answers_are_worse_than_those_to_learnt_images(part: Part) -> None:
    # Random labels can be learnt by heart, but not foretold.
    random = np.random.default_rng(3)
    sample = build_sample(random.normal(size=(200, 64)), random.integers(0, 4, 200))
    learnt = solve(sample, 0.1).logits(sample.features)
    honest = out_of_fold(sample, 0.1)
    assert score("accuracy", sample.labels, learnt) > 0.7
    assert score("accuracy", sample.labels, honest) < 0.4


def test_out_of_fold_accuracy_is_that_of_scikit_learn_on_the_same_folds(part: Part) -> None:
    sample = part(0, 500)
    right = 0
    for each in set_folds(sample).rounds:
        rival = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
        rival.fit(sample.features[each.learnt], sample.labels[each.learnt])
        right += (rival.predict(sample.features[each.judged]) == sample.labels[each.judged]).sum()
    ours = score("accuracy", sample.labels, out_of_fold(sample, 10))
    assert ours == pytest.approx(right / 500, abs=0.01)


def test_a_class_with_fewer_images_than_folds_is_no_obstacle(part: Part) -> None:
    sample = part(0, 60)
    rare = np.concatenate(
        [np.flatnonzero(sample.labels != 3), np.flatnonzero(sample.labels == 3)[:1]]
    )
    logits = out_of_fold(sample.take(rare), 1)
    assert np.isfinite(logits).all()
    assert logits.shape == (len(rare), 10)


def test_the_penalty_with_the_best_score_is_chosen(part: Part) -> None:
    choice = choose_penalty(set_trial(part(0, 200), part(200, 700)), "accuracy")
    assert tuple(row.penalty for row in choice.rows) == PENALTIES
    best = max(choice.rows, key=lambda row: row.rank)
    assert choice.penalty == best.penalty
    assert best.score == max(row.score for row in choice.rows)


def test_noise_asks_for_a_stronger_penalty_than_clean_data(part: Part) -> None:
    clean = part(0, 300)
    noise = np.random.default_rng(5).normal(0, 20, clean.features.shape)
    noisy = build_sample(clean.features + noise, clean.labels)
    penalties = [
        min(choose_penalty_by_folds(each, "accuracy").rows, key=lambda row: row.loss).penalty
        for each in (clean, noisy)
    ]
    assert penalties[1] > penalties[0]


def test_chosen_factors_are_never_worse_than_either_start(part: Part) -> None:
    for metric, trial in (
        ("accuracy", set_trial(part(0, 200), part(200, 500))),
        ("macro_f1", set_folds(part(0, 150))),
    ):
        choice = choose_factors(trial, HALVES, metric)
        assert choice.score >= max(choice.starts)
        assert len(choice.columns(HALVES)) == 64
        assert choice.penalty <= PENALTIES[0] < COARSE_PENALTIES[0]


def test_a_group_of_noise_is_left_out_or_held_back(part: Part) -> None:
    sample = part(0, 700)
    features = sample.features.copy()
    features[:, :32] = np.random.default_rng(0).normal(0, 5, (700, 32))
    noisy = build_sample(features, sample.labels)
    trial = set_trial(noisy.take(np.arange(200)), noisy.take(np.arange(200, 700)))
    noise, pixels = choose_factors(trial, HALVES, "accuracy").values
    assert noise < pixels


def test_a_second_choice_of_factors_is_the_first_one(part: Part) -> None:
    trial = set_trial(part(0, 150), part(150, 400))
    assert choose_factors(trial, HALVES, "accuracy") == choose_factors(trial, HALVES, "accuracy")

"""What could be retrained, and its work."""

import pytest

from job.audit import Splits
from job.selection import list_candidates
from tests.training.conftest import build_classifier


def test_frozen_layers_are_counted_once_for_each_view_instead_of_each_epoch(
    splits: Splits,
) -> None:
    classifier = build_classifier()
    train, val, layers = len(splits.train), len(splits.val), classifier.cuts[-1].depth
    *_, live, whole = list_candidates(classifier, [1], splits, epochs=10)
    *_, kept, still_whole = list_candidates(classifier, [1], splits, epochs=10, views=2)
    assert whole == still_whole
    assert live.cut is not None
    frozen = live.cut.depth
    most = 10 * (3 * train + val) * layers
    start = (2 * train + val) * frozen / most
    assert kept.start == pytest.approx(start)
    assert kept.work == pytest.approx(start + (layers - frozen) / layers)
    assert live.work == pytest.approx(kept.work - start + 10 * (train + val) * frozen / most)
    assert live.start == 0


def test_a_candidate_that_leaves_early_has_paid_for_all_its_views(splits: Splits) -> None:
    *_, kept, _ = list_candidates(build_classifier(), [1], splits, epochs=10, views=2)
    assert kept.count_work(0.0) == 0
    assert kept.count_work(1.0) == pytest.approx(kept.work)
    assert kept.count_work(0.5) == pytest.approx((kept.start + kept.work) / 2)

"""The race itself: it keeps the best, stops at any step, and goes on to the same bytes."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from job import selection
from job.audit import Splits
from job.batches import Feed
from job.errors import Interrupted
from job.model import Classifier
from job.settings import TransferSettings
from job.training import Fitted, TrainingContext
from tests.training.conftest import build_classifier, build_context, build_feed
from tests.training.test_fit import StopAt, equal, weights_of

MakeFeed = Callable[..., Feed]
MakeContext = Callable[..., TrainingContext]


def run_race(
    classifier: Classifier, feed: Feed, context: TrainingContext, **settings: Any
) -> Fitted:
    """The phases of a run from the measurement to the trained classifier.

    With so few images, only data that are unlike ImageNet are raced.
    """
    measured = selection.measure_data(classifier, feed, context)
    unlike = replace(measured.measurement, earlier_stages_add=0.1)
    measured = replace(measured, measurement=unlike)
    return selection.race_candidates(
        classifier, feed, TransferSettings(**settings), measured, context
    )


def race_with_dropout(splits: Splits, context: TrainingContext) -> Fitted:
    """A race in which all that can draws random numbers."""
    return run_race(
        build_classifier(dropout=0.3), build_feed(splits, augmentation="light"), context
    )


@pytest.fixture(scope="module")
def uninterrupted(splits: Splits, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return race_with_dropout(splits, build_context(tmp_path_factory.mktemp("straight"), epochs=4))


def test_every_candidate_is_told_of_and_one_of_them_is_kept(uninterrupted: Fitted) -> None:
    fitted = uninterrupted
    names = [row["name"] for row in fitted.candidates]
    assert names == ["none", "none, all stages", "part, 1 stage", "all"]
    (kept,) = [row for row in fitted.candidates if row["chosen"]]
    assert kept["mode"] == fitted.plan.mode
    assert kept["low"] <= kept["score"] <= kept["high"]
    assert fitted.plan.rule == "measured"
    # Both solved heads take the same pass over the images.
    _, *others = [row["work"] for row in fitted.candidates]
    assert sum(others) <= 1.5 * (1 + 1e-9)
    stages = [name for name, _ in itertools.groupby(row["stage"] for row in fitted.history)]
    assert sorted(stages) == ["all", "part, 1 stage", "probe"]


def test_no_budget_keeps_the_backbone_as_it_is(feed: MakeFeed, context: MakeContext) -> None:
    classifier = build_classifier()
    before = [variable.numpy() for variable in classifier.backbone.variables]
    fitted = run_race(classifier, feed(), context(), budget=0)
    assert fitted.plan.mode == "none"
    assert equal(before, [variable.numpy() for variable in fitted.classifier.backbone.variables])
    assert {row["reason"] for row in fitted.candidates if row["mode"] != "none"} == {
        "not trained: the budget is too small"
    }


def test_few_images_that_are_like_imagenet_are_not_raced(
    feed: MakeFeed, context: MakeContext
) -> None:
    classifier, surroundings = build_classifier(), context()
    measured = selection.measure_data(classifier, feed(), surroundings)
    like = replace(measured, measurement=replace(measured.measurement, earlier_stages_add=0.0))
    fitted = selection.race_candidates(classifier, feed(), TransferSettings(), like, surroundings)
    assert fitted.plan.mode == "none"
    assert {row["reason"] for row in fitted.candidates if row["mode"] != "none"} == {
        "not trained: like ImageNet, and too few validation images to show a gain"
    }


@pytest.mark.parametrize("step", [0, 13])
def test_a_race_that_is_stopped_goes_on_to_the_same_bytes_and_is_not_run_again(
    splits: Splits, context: MakeContext, uninterrupted: Fitted, step: int
) -> None:
    with pytest.raises(Interrupted):
        race_with_dropout(splits, context(epochs=4, stop=StopAt(step)))
    resumed = race_with_dropout(splits, context(epochs=4))
    assert uninterrupted == resumed
    assert equal(weights_of(uninterrupted.classifier.model), weights_of(resumed.classifier.model))

    # A step more would be stopped.
    again = race_with_dropout(splits, context(epochs=4, stop=StopAt(0)))
    assert resumed == again
    assert equal(weights_of(resumed.classifier.model), weights_of(again.classifier.model))
    assert resumed.classifier.spec.head.pooling == again.classifier.spec.head.pooling


def test_the_head_on_all_stages_is_one_linear_layer_of_the_exported_model(
    feed: MakeFeed, context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prefer_stages(judged: Any, *_: Any) -> Any:
        (winner,) = [one.name for one in judged if one.name == "none, all stages"]
        return selection.rule.Winner(winner, "The test says so.")

    monkeypatch.setattr("job.selection.race.choose_winner", prefer_stages)
    surroundings = context()
    classifier = build_classifier()
    measured = selection.measure_data(classifier, feed(), surroundings)
    fitted = selection.race_candidates(
        classifier, feed(), TransferSettings(), measured, surroundings
    )
    assert fitted.plan.pooling == "stages"
    features = measured.features.val.features
    kernel, bias = (v.numpy() for v in fitted.classifier.head.get_layer("logits").variables)
    batch = next(iter(feed().load_images(feed().splits.val)))
    found = fitted.classifier.head(fitted.classifier.features(batch)).numpy()[: len(features)]
    np.testing.assert_allclose(found, features @ kernel + bias, rtol=1e-4, atol=1e-4)
    assert len(fitted.classifier.head.trainable_variables) == 2


def test_a_race_ends_after_the_pilot_where_a_solved_head_stays_far_ahead(
    splits: Splits, context: MakeContext
) -> None:
    def race_until(step: int) -> Fitted:
        """A race in which so high a rate forgets what the solved head knew."""
        surroundings = context(epochs=4, learning_rate=10.0, stop=StopAt(step))
        return run_race(build_classifier(), build_feed(splits), surroundings)

    with pytest.raises(Interrupted):
        race_until(3)
    fitted = race_until(1000)
    assert fitted.plan.mode == "none"
    assert fitted.refinements == ()
    rows = {row["name"]: row for row in fitted.candidates}
    assert (rows["all"]["epochs"], rows["all"]["reason"]) == (1, "left out after 1 epoch")
    assert rows["part, 1 stage"]["reason"] == f"not trained: {selection.NO_REACH}"
    assert {row["stage"] for row in fitted.history} == {"probe", "all"}


@pytest.mark.runs
def test_finalists_are_judged_after_their_refinement(
    feed: MakeFeed, context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each epoch is far worse than the start, to which the refinement goes back.
    monkeypatch.setattr("job.selection.race.is_out_of_reach", lambda *_: False)
    fitted = run_race(build_classifier(), feed(), context(epochs=2, learning_rate=10.0))
    (finalist,) = [
        row for row in fitted.candidates if row["mode"] != "none" and row["low"] is not None
    ]
    epochs = [row for row in fitted.history if row["stage"] == finalist["name"]]
    assert len(epochs) == 2
    assert finalist["score"] > max(row["val_accuracy"] for row in epochs)

"""Training: what comes out, what stays frozen, and what an interruption must not change."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from job import training
from job.audit import Splits
from job.batches import Feed, collect_labels
from job.checkpoint import TrainingState
from job.errors import DivergedError, Interrupted, SettingsError
from job.scores import log_loss, score
from job.telemetry import (
    EpochEnded,
    Event,
    HeadSolved,
    HistoryRestored,
    Progressed,
    StageBegan,
    Telemetry,
)
from job.training import Fitted, TrainingContext, loop
from job.training.step import TrainStep, build_train_step
from job.training.work import JUDGEMENTS
from job.workers import Stop
from tests.training.conftest import build_classifier, build_context, build_feed, build_plan


def weights_of(model: Any) -> list[np.ndarray]:
    return [variable.numpy() for variable in model.variables]


def equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def all_finite(arrays: Sequence[np.ndarray]) -> bool:
    return all(np.isfinite(array).all() for array in arrays)


def test_a_solved_head_tells_the_colours_apart_and_leaves_the_backbone_alone(
    feed: Callable[..., Feed], context: Callable[..., TrainingContext]
) -> None:
    classifier, batches = build_classifier(), feed()
    before = weights_of(classifier.backbone)
    fitted = training.fit(classifier, build_plan("none", classifier), batches, context())
    logits = training.predict(classifier, batches, batches.splits.test)
    assert score("accuracy", collect_labels(batches.splits.test), logits) == 1.0
    assert equal(before, weights_of(classifier.backbone))
    assert fitted.exact
    assert [row["epoch"] for row in fitted.history] == [None] * 11
    penalties = [row["penalty"] for row in fitted.history]
    assert penalties == sorted(penalties, reverse=True)


def test_a_trained_head_leaves_the_backbone_alone_and_learns(
    feed: Callable[..., Feed], context: Callable[..., TrainingContext]
) -> None:
    classifier = build_classifier(units=8, dropout=0.2)
    before = weights_of(classifier.backbone)
    plan = build_plan("none", classifier, solved=False)
    fitted = training.fit(classifier, plan, feed(), context(epochs=8))
    assert equal(before, weights_of(classifier.backbone))
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]


@pytest.mark.parametrize("augmentation", ["none", "light"])
def test_part_changes_what_is_behind_the_cut_and_nothing_before_it(
    feed: Callable[..., Feed], context: Callable[..., TrainingContext], augmentation: str
) -> None:
    classifier = build_classifier()
    low, high = (classifier.backbone.get_layer(name) for name in ("low", "high"))
    low_before, high_before = weights_of(low), weights_of(high)
    batches = feed(augmentation=augmentation)
    training.fit(classifier, build_plan("part", classifier), batches, context(epochs=1))
    assert equal(low_before, weights_of(low))
    assert not equal(high_before, weights_of(high))


def test_all_changes_every_layer_but_never_the_statistics_of_batchnorm(
    feed: Callable[..., Feed], context: Callable[..., TrainingContext]
) -> None:
    classifier = build_classifier()
    low, norm = (classifier.backbone.get_layer(name) for name in ("low", "norm"))
    moving = [norm.moving_mean.numpy(), norm.moving_variance.numpy()]
    gamma, low_before = norm.gamma.numpy(), weights_of(low)
    training.fit(classifier, build_plan("all", classifier), feed(), context(epochs=1))
    assert equal(moving, [norm.moving_mean.numpy(), norm.moving_variance.numpy()])
    assert not np.array_equal(gamma, norm.gamma.numpy())
    assert not equal(low_before, weights_of(low))


def test_cached_and_live_agree(
    feed: Callable[..., Feed], context: Callable[..., TrainingContext]
) -> None:
    cached, live = build_classifier(), build_classifier()
    training.fit(cached, build_plan("part", cached, probe=False), feed(), context(epochs=2))
    nothing_fits = context(cache_limit=0, epochs=2)
    nothing_fits.checkpoints.clear()
    kept = set(nothing_fits.cache.folder.iterdir())
    training.fit(live, build_plan("part", live, probe=False), feed(), nothing_fits)
    assert set(nothing_fits.cache.folder.iterdir()) == kept
    for one, two in zip(weights_of(cached.model), weights_of(live.model), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


class StopAt(Stop):
    """SIGTERM that arrives before a given step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.left = step

    @property
    def requested(self) -> bool:
        self.left -= 1
        return self.left < 0

    @requested.setter
    def requested(self, _: bool) -> None: ...


def fit_with_dropout(splits: Splits, surroundings: TrainingContext) -> Fitted:
    """Two epochs of four steps on augmented images: all that draws random numbers."""
    classifier = build_classifier(dropout=0.3)
    plan = build_plan("part", classifier, probe=False)
    return training.fit(classifier, plan, build_feed(splits, augmentation="light"), surroundings)


@pytest.fixture(scope="module")
def uninterrupted(splits: Splits, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fit_with_dropout(splits, build_context(tmp_path_factory.mktemp("straight"), epochs=2))


# Before the first step, between two epochs, in the middle of the second, after the last step.
@pytest.mark.parametrize("step", [0, 4, 6, 8])
def test_an_interrupted_run_goes_on_exactly_where_it_stopped(
    splits: Splits, context: Callable[..., TrainingContext], uninterrupted: Fitted, step: int
) -> None:
    with pytest.raises(Interrupted):
        fit_with_dropout(splits, context(stop=StopAt(step), epochs=2))
    resumed = fit_with_dropout(splits, context(epochs=2))
    assert equal(weights_of(uninterrupted.classifier.model), weights_of(resumed.classifier.model))
    assert uninterrupted == resumed


def test_a_training_that_only_spoils_the_solved_head_is_undone_and_says_so(
    feed: Callable[..., Feed], context: Callable[..., TrainingContext]
) -> None:
    classifier = build_classifier()
    before = weights_of(classifier.backbone)
    plan = build_plan("all", classifier)
    spoiling = context(epochs=1, learning_rate=10.0, warmup=0.0, clip_norm=0.0)
    fitted = training.fit(classifier, plan, feed(), spoiling)
    (line,) = [row for row in fitted.refinements if row["undone"]]
    assert line["kept"]
    assert line["detail"].startswith("alpha 0,")
    assert equal(before, weights_of(classifier.backbone))


class Listener(Telemetry):
    """Keeps what training tells."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def find(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def test_a_resumed_run_tells_its_earlier_epochs_once_and_counts_all_its_work(
    splits: Splits, context: Callable[..., TrainingContext]
) -> None:
    def fit_heard(heard: Listener, **changes: Any) -> Fitted:
        classifier = build_classifier()
        plan = build_plan("part", classifier)
        surroundings = replace(context(epochs=3, **changes), telemetry=heard)
        return training.fit(classifier, plan, build_feed(splits), surroundings)

    first, second = Listener(), Listener()
    steps = build_feed(splits).steps
    with pytest.raises(Interrupted):
        fit_heard(first, stop=StopAt(steps + 3))
    fitted = fit_heard(second)

    (early,) = first.find(EpochEnded)
    (restored,) = second.find(HistoryRestored)
    without_rate = {name: score for name, score in early.scores.items() if name != "learning_rate"}
    assert restored.epochs == (replace(early, scores=without_rate),)
    assert [restored.solved] == first.find(HeadSolved)
    assert [epoch.epoch for epoch in second.find(EpochEnded)] == [2, 3]
    assert [row["epoch"] for row in fitted.history if row["epoch"]] == [1, 2, 3]
    assert [began.done for began in second.find(StageBegan)] == [1]

    counts = [event for event in second.find(Progressed) if event.unit == "batches"]
    assert counts[0].done > steps
    assert {event.total for event in counts} == {3 * (steps + 1) + JUDGEMENTS}
    assert [event.done for event in counts] == sorted(event.done for event in counts)
    assert counts[-1].done == counts[-1].total
    assert [event.detail for event in counts].count("refinement") == JUDGEMENTS


def test_a_run_resumed_on_another_machine_says_that_it_is_not_exact(
    feed: Callable[..., Feed], context: Callable[..., TrainingContext]
) -> None:
    classifier = build_classifier()
    plan = build_plan("part", classifier)
    with pytest.raises(Interrupted):
        training.fit(classifier, plan, feed(), context(stop=StopAt(4)))
    checkpoints = context().checkpoints
    state = checkpoints.load()
    assert state is not None
    elsewhere = {**state.facts, "fingerprints": ["another machine"]}
    checkpoints.save(TrainingState(state.arrays, elsewhere))
    other = build_classifier()
    assert not training.fit(other, build_plan("part", other), feed(), context()).exact


class Poisoned(Feed):
    """One step of the second epoch has a weight that is not a number."""

    def load_epochs(self, epoch: int, start: int = 0, *rows: Any, **more: Any) -> tf.data.Dataset:
        first = epoch * self.steps + start

        def poison(number: tf.Tensor, batch: tuple[Any, ...]) -> tuple[Any, ...]:
            inputs, targets, weights = batch
            is_poisoned = first + number == self.steps + 2
            return inputs, targets, weights * tf.where(is_poisoned, np.nan, 1.0)

        return super().load_epochs(epoch, start, *rows, **more).enumerate().map(poison)


def poisoned(batches: Feed) -> Feed:
    return Poisoned(**{field.name: getattr(batches, field.name) for field in fields(batches)})


def test_a_gradient_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(
    feed: Callable[..., Feed], context: Callable[..., TrainingContext]
) -> None:
    classifier = build_classifier()
    plan = build_plan("all", classifier, probe=False)
    with pytest.raises(DivergedError, match="step 2 of epoch 2, stage tune") as caught:
        training.fit(classifier, plan, poisoned(feed()), context())
    assert "GRAFT_TRAINING_LEARNING_RATE" in caught.value.cure
    state = context().checkpoints.load()
    assert state is not None
    assert (state.facts["current"]["epoch"], state.facts["current"]["step"]) == (1, 2)
    assert all_finite(state.arrays["model"])


def test_float16_skips_an_overflowing_step_with_half_the_scale(
    feed: Callable[..., Feed], context: Callable[..., TrainingContext]
) -> None:
    classifier = build_classifier()
    plan = build_plan("all", classifier, probe=False)
    stopped_after_it = context(precision="mixed_float16", interval=0, stop=StopAt(8))
    with pytest.raises(Interrupted):
        training.fit(classifier, plan, poisoned(feed()), stopped_after_it)
    state = context().checkpoints.load()
    assert state is not None
    assert state.facts["current"]["loss_scale"] == {"active": True, "value": 2.0**14, "good": 1}
    assert all_finite(weights_of(classifier.model))


def test_the_best_epoch_is_kept_and_patience_ends_a_stage(
    feed: Callable[..., Feed], context: Callable[..., TrainingContext]
) -> None:
    classifier, batches = build_classifier(), feed()
    plan = build_plan("all", classifier, probe=False)
    surroundings = context(epochs=50, patience=2, learning_rate=0.05)
    fitted = training.fit(classifier, plan, batches, surroundings)
    best = max(fitted.history, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert len(fitted.history) == best["epoch"] + 2 < 50
    val = batches.splits.val
    loss = log_loss(collect_labels(val), training.predict(classifier, batches, val))
    assert loss == pytest.approx(best["val_loss"], abs=1e-5)


def _limit_memory(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """A device without room for more than so many images at once."""

    def build_small_step(*arguments: Any) -> TrainStep:
        strategy, forward, *rest = arguments

        def forward_few(images: tf.Tensor) -> tf.Tensor:
            if images.shape[0] > most:
                raise tf.errors.ResourceExhaustedError(None, None, "OOM")
            return forward(images)

        return build_train_step(strategy, forward_few, *rest)

    monkeypatch.setattr(loop, "build_train_step", build_small_step)


def test_a_batch_that_does_not_fit_into_memory_is_trained_in_parts(
    feed: Callable[..., Feed],
    context: Callable[..., TrainingContext],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain = build_classifier()
    plan = build_plan("all", plain, probe=False)
    surroundings = context(clip_norm=1.0)
    whole = training.fit(plain, plan, feed(), surroundings)
    surroundings.checkpoints.clear()
    _limit_memory(monkeypatch, 3)
    divided = build_classifier()
    in_parts = training.fit(divided, build_plan("all", divided, probe=False), feed(), surroundings)
    weights, others = weights_of(plain.model), weights_of(divided.model)
    for one, other in zip(weights[:-2], others[:-2], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    # The head is solved again in the end, as closely as its solver goes.
    for one, other in zip(weights[-2:], others[-2:], strict=True):
        np.testing.assert_allclose(one, other, atol=0.01)
    assert whole.exact
    assert not in_parts.exact
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    (line,) = lines
    assert "batch of 8 images: each step adds up the gradients of 4 parts" in line


def test_memory_that_holds_no_image_ends_the_training(
    feed: Callable[..., Feed],
    context: Callable[..., TrainingContext],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _limit_memory(monkeypatch, 0)
    classifier = build_classifier()
    plan = build_plan("all", classifier, probe=False)
    with pytest.raises(SettingsError, match="a single image") as caught:
        training.fit(classifier, plan, feed(), context())
    assert "smaller backbone" in caught.value.cure


@pytest.mark.parametrize("augmentation", ["none", "light"])
def test_steps_are_timed_before_any_activation_is_computed(
    feed: Callable[..., Feed], context: Callable[..., TrainingContext], augmentation: str
) -> None:
    classifier, surroundings = build_classifier(), context()
    plan = build_plan("part", classifier, probe=False)
    batches = feed(augmentation=augmentation)
    network = training.divide_classifier(
        classifier, plan.stages[0], plan.cut, batches, surroundings
    )
    assert (network.kept is None) == (augmentation == "light")
    before = weights_of(classifier.backbone.get_layer("high"))
    inputs = training.imitate_inputs(network, batches, surroundings)
    assert training.StageTrainer(network, inputs, surroundings).time_steps(1) > 0
    assert not surroundings.cache.folder.exists()
    # They were real steps: a bias has a gradient even where activations are 0.
    assert not equal(before, weights_of(classifier.backbone.get_layer("high")))


def test_each_pooling_has_features_of_its_own(
    feed: Callable[..., Feed], context: Callable[..., TrainingContext]
) -> None:
    # They have one shape: by that alone `max` would have been served what `avg` had kept.
    for pooling in ("avg", "max"):
        classifier, surroundings = build_classifier(pooling=pooling), context()
        training.fit(classifier, build_plan("none", classifier), feed(), surroundings)
        surroundings.checkpoints.clear()
    assert len(list(surroundings.cache.folder.iterdir())) == 2


def test_each_set_of_initial_weights_has_features_of_its_own(
    feed: Callable[..., Feed], context: Callable[..., TrainingContext]
) -> None:
    for seed in (0, 1):
        classifier, surroundings = build_classifier(seed), context()
        training.fit(classifier, build_plan("none", classifier), feed(), surroundings)
        surroundings.checkpoints.clear()
    assert len(list(surroundings.cache.folder.iterdir())) == 2

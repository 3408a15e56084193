"""Training: what comes out, what stays frozen, and what an interruption must not change."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from job import training
from job.batches import WHOLE, Feed, Shard
from job.checkpoint import State
from job.errors import DivergedError, Interrupted, SettingsError
from job.scores import log_loss
from job.settings import TransferMode
from job.training import FeatureCache, loop
from job.training.step import Step
from job.transfer import Plan, Stage
from job.workers import Stop


def plan_of(mode: TransferMode, toy: Any, probe: bool = True, solved: bool = True) -> Plan:
    stages: tuple[Stage, ...] = (Stage("probe", "none", 1.0, solved),) if probe else ()
    stages += (Stage("tune", mode, 0.1 if probe else 1.0, False),) if mode != "none" else ()
    return Plan(mode, "asked", "setting", toy.cuts[0] if mode == "part" else None, stages, 0, 0)


def weights_of(model: Any) -> list[np.ndarray]:
    return [variable.numpy() for variable in model.variables]


def equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_solved_head_tells_the_colours_apart_and_leaves_the_backbone_alone(
    toy, feed, context, cache
) -> None:
    classifier, batches = toy(), feed()
    before = weights_of(classifier.backbone)
    fitted = training.fit(classifier, plan_of("none", classifier), batches, context(), cache)
    logits = training.predict(classifier, batches, batches.splits.test)
    labels = np.array([example.label for example in batches.splits.test])
    assert training.score("accuracy", labels, logits) == 1.0
    assert equal(before, weights_of(classifier.backbone))
    assert fitted.exact
    assert [row["epoch"] for row in fitted.history] == list(range(1, 12))


def test_a_trained_head_leaves_the_backbone_alone_and_learns(toy, feed, context, cache) -> None:
    classifier, batches = toy(units=8, dropout=0.2), feed()
    before = weights_of(classifier.backbone)
    fitted = training.fit(
        classifier, plan_of("none", classifier, solved=False), batches, context(epochs=8), cache
    )
    assert equal(before, weights_of(classifier.backbone))
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]


@pytest.mark.parametrize("augmentation", ["none", "light"])
def test_part_changes_what_lies_behind_the_cut_and_nothing_before_it(
    toy, feed, context, cache, augmentation
) -> None:
    classifier = toy()
    low, high = (weights_of(classifier.backbone.get_layer(name)) for name in ("low", "high"))
    training.fit(
        classifier, plan_of("part", classifier), feed(augmentation=augmentation), context(), cache
    )
    assert equal(low, weights_of(classifier.backbone.get_layer("low")))
    assert not equal(high, weights_of(classifier.backbone.get_layer("high")))


def test_all_changes_every_layer_but_never_the_statistics_of_batchnorm(
    toy, feed, context, cache
) -> None:
    classifier = toy()
    norm = classifier.backbone.get_layer("norm")
    moving = [norm.moving_mean.numpy(), norm.moving_variance.numpy()]
    gamma, low = norm.gamma.numpy(), weights_of(classifier.backbone.get_layer("low"))
    training.fit(classifier, plan_of("all", classifier), feed(), context(), cache)
    assert equal(moving, [norm.moving_mean.numpy(), norm.moving_variance.numpy()])
    assert not np.array_equal(gamma, norm.gamma.numpy())
    assert not equal(low, weights_of(classifier.backbone.get_layer("low")))


def test_cached_and_live_agree(toy, feed, context, cache, tmp_path) -> None:
    cached, live = toy(), toy()
    training.fit(cached, plan_of("part", cached, probe=False), feed(), context(), cache)
    nothing_fits = FeatureCache(tmp_path / "none", "toy", 0)
    other = context()
    other.checkpoints.clear()
    training.fit(live, plan_of("part", live, probe=False), feed(), other, nothing_fits)
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


@pytest.mark.parametrize("step", [0, 5, 8, 12])
def test_an_interrupted_run_goes_on_exactly_where_it_stopped(
    toy, feed, context, cache, step: int
) -> None:
    def arguments() -> tuple[Any, Plan, Any]:
        classifier = toy(dropout=0.3)
        return classifier, plan_of("part", classifier, probe=False), feed(augmentation="light")

    straight, plan, batches = arguments()
    whole = training.fit(straight, plan, batches, context(), cache)
    context().checkpoints.clear()
    first, plan, batches = arguments()
    with pytest.raises(Interrupted):
        training.fit(first, plan, batches, context(stop=StopAt(step)), cache)
    second, plan, batches = arguments()
    resumed = training.fit(second, plan, batches, context(), cache)
    assert equal(weights_of(straight.model), weights_of(second.model))
    assert whole == resumed


def test_a_run_resumed_on_another_machine_says_that_it_is_not_exact(
    toy, feed, context, cache
) -> None:
    classifier = toy()
    plan = plan_of("all", classifier)
    with pytest.raises(Interrupted):
        training.fit(classifier, plan, feed(), context(stop=StopAt(4)), cache)
    checkpoints = context().checkpoints
    state = checkpoints.load()
    assert state is not None
    checkpoints.save(State(state.arrays, {**state.facts, "fingerprints": ["another machine"]}))
    assert not training.fit(toy(), plan, feed(), context(), cache).exact


class Poisoned(Feed):
    """One step of the second epoch has a weight that is not a number."""

    def train(
        self, epoch: int, start: int = 0, features: Any = None, share: Shard = WHOLE
    ) -> tf.data.Dataset:
        def poison(step: tf.Tensor, batch: tuple[Any, ...]) -> tuple[Any, ...]:
            return *batch[:2], batch[2] * tf.where(
                step + start == 2, np.nan, 1.0
            ) if epoch == 1 else batch[2]

        return super().train(epoch, start, features, share).enumerate().map(poison)


def poisoned(batches: Feed) -> Feed:
    return Poisoned(*(getattr(batches, field.name) for field in fields(batches)))


def test_a_gradient_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(
    toy, feed, context, cache
) -> None:
    classifier = toy()
    plan = plan_of("all", classifier, probe=False)
    with pytest.raises(DivergedError, match="step 2 of epoch 2, stage tune") as caught:
        training.fit(classifier, plan, poisoned(feed()), context(), cache)
    assert "GRAFT_TRAINING_LEARNING_RATE" in caught.value.cure
    state = context().checkpoints.load()
    assert state is not None
    assert (state.facts["epoch"], state.facts["step"]) == (1, 2)
    assert all(np.isfinite(array).all() for array in state.arrays["model"])


def test_float16_skips_an_overflowing_step_with_half_the_scale(toy, feed, context, cache) -> None:
    classifier = toy()
    plan = plan_of("all", classifier, probe=False)
    training.fit(
        classifier, plan, poisoned(feed()), context(precision="mixed_float16", interval=0), cache
    )
    assert all(np.isfinite(array).all() for array in weights_of(classifier.model))


def test_the_best_epoch_is_kept_and_patience_ends_a_stage(toy, feed, context, cache) -> None:
    classifier = toy()
    fitted = training.fit(
        classifier,
        plan_of("all", classifier, probe=False),
        feed(),
        context(epochs=50, patience=2, learning_rate=0.05),
        cache,
    )
    best = max(fitted.history, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert len(fitted.history) == best["epoch"] + 2 < 50
    val = feed().splits.val
    labels = np.array([example.label for example in val])
    assert log_loss(labels, training.predict(classifier, feed(), val)) == pytest.approx(
        best["val_loss"], abs=1e-5
    )


def test_running_out_of_memory_names_a_batch_that_fits(
    toy, feed, context, cache, monkeypatch
) -> None:
    class Small(Step):
        """A device without room for more than 3 images."""

        def _gradients(self, inputs: Any, *rest: Any) -> Any:
            if inputs.shape[0] > 3:
                raise tf.errors.ResourceExhaustedError(None, None, "OOM")
            return super()._gradients(inputs, *rest)

    classifier, surroundings = toy(), context()
    task_plan = plan_of("all", classifier, probe=False)
    monkeypatch.setattr(loop, "Step", Small)
    with pytest.raises(SettingsError, match="batch of 8 images") as caught:
        training.fit(classifier, task_plan, feed(), surroundings, cache)
    assert "GRAFT_TRAINING_BATCH_SIZE=2" in caught.value.cure


def test_each_pooling_has_features_of_its_own(toy, feed, context, cache) -> None:
    # They have one shape: by that alone `max` would have been served what `avg` had kept.
    for pooling in ("avg", "max"):
        classifier, surroundings = toy(), context()
        classifier.pooling = pooling
        training.fit(classifier, plan_of("none", classifier), feed(), surroundings, cache)
        surroundings.checkpoints.clear()
    assert len(list(cache.folder.glob("*.npy"))) == 4

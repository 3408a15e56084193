"""The step's two halves: XLA compiles the first and never the second; reduced precision trains."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from job import training
from job.batches import Feed
from job.model import Classifier
from job.settings import TrainingSettings, TransferMode
from job.training import TrainingContext
from job.training.step import FIRST_SCALE, GROW_AFTER, LossScale, TrainStep, build_train_step
from tests.training.conftest import build_classifier, build_plan

BATCH = (
    tf.ones((4, 16, 16, 3)),
    tf.one_hot([0, 1, 2, 0], 3),
    tf.fill((4,), 0.25),
    tf.constant(1.0),
)


def build_step(classifier: Classifier, xla: bool) -> TrainStep:
    variables = classifier.model.trainable_variables
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(variables)

    def forward(images: tf.Tensor) -> tf.Tensor:
        features = classifier.pool(classifier.backbone(images, training=False))
        return classifier.head(features, training=True)

    settings = TrainingSettings(clip_norm=1.0, xla=xla)
    strategy = tf.distribute.get_strategy()
    return build_train_step(strategy, forward, variables, optimizer, settings)


def is_compiled(function: Any) -> bool:
    graph = function.graph.as_graph_def()
    items = [*graph.node, *graph.library.function]
    for inner in graph.library.function:
        items.extend(inner.node_def)
    return any(item.attr["_XlaMustCompile"].b for item in items if "_XlaMustCompile" in item.attr)


def test_xla_compiles_the_gradient_and_never_the_update() -> None:
    step = build_step(build_classifier(), xla=True)
    _, finite, gradients = step.compute_gradients(*BATCH)
    assert finite
    step.update(gradients)
    assert is_compiled(step.compute_gradients.get_concrete_function(*BATCH))  # type: ignore[attr-defined]  # a tf.function
    assert not is_compiled(step.update.get_concrete_function(gradients))  # type: ignore[attr-defined]  # a tf.function


def test_xla_gives_the_gradient_that_plain_tensorflow_gives() -> None:
    loss, _, compiled = build_step(build_classifier(), xla=True).compute_gradients(*BATCH)
    plain_loss, _, plain = build_step(build_classifier(), xla=False).compute_gradients(*BATCH)
    np.testing.assert_allclose(loss, plain_loss, rtol=1e-5)
    for a, b in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("mode", ["part", "all"])
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_reduced_precision_trains_over_kept_activations_too(
    feed: Callable[..., Feed],
    context: Callable[..., TrainingContext],
    precision: str,
    mode: TransferMode,
) -> None:
    keras.config.set_dtype_policy(precision)
    try:
        classifier = build_classifier(head_dtype="float32")
    finally:
        keras.config.set_dtype_policy("float32")
    plan = build_plan(mode, classifier, probe=False)
    fitted = training.fit(classifier, plan, feed(), context(precision=precision, epochs=4))
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
    assert all(np.isfinite(variable.numpy()).all() for variable in classifier.model.variables)


def test_the_loss_scale_grows_after_many_good_steps_and_gives_up_below_1() -> None:
    scale = LossScale.for_precision("mixed_float16")
    for _ in range(GROW_AFTER):
        scale.record_success()
    assert scale.value == 2 * FIRST_SCALE
    halvings = 0
    while scale.reduce_after_overflow():
        halvings += 1
    assert halvings == 16


def test_without_float16_nothing_is_scaled_and_an_overflow_is_the_end() -> None:
    scale = LossScale.for_precision("mixed_bfloat16")
    scale.record_success()
    assert scale.value == 1
    assert not scale.reduce_after_overflow()


def test_a_gradient_is_clipped_to_its_global_norm() -> None:
    step = build_step(build_classifier(), xla=False)
    _, _, gradients = step.compute_gradients(BATCH[0] * 255, *BATCH[1:])
    assert float(tf.linalg.global_norm(gradients)) <= 1 + 1e-5


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    draw = np.random.default_rng(0)
    weights = draw.uniform(0.5, 1.5, 8).astype(np.float32)
    batch = (
        tf.constant(draw.uniform(0, 255, (8, 16, 16, 3)), tf.float32),
        tf.one_hot(draw.integers(0, 3, 8), 3),
        tf.constant(weights / weights.sum()),
    )
    step = build_step(build_classifier(), xla=False)
    loss, finite, whole = step.compute_gradients(*batch, tf.constant(1.0))
    assert float(tf.linalg.global_norm(whole)) > 0.99  # it is clipped, as the sum must be too
    for rows in (4, 3, 1):
        part_loss, part_finite, parts = step.accumulate_gradients(batch, tf.constant(1.0), rows)
        np.testing.assert_allclose(part_loss, loss, atol=1e-6)
        assert finite
        assert part_finite
        for one, other in zip(whole, parts, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)


def test_one_part_that_is_not_finite_spoils_the_sum() -> None:
    step = build_step(build_classifier(), xla=False)
    images = np.ones((4, 16, 16, 3), np.float32)
    images[3] = np.inf
    batch = (tf.constant(images), *BATCH[1:3])
    _, finite, _ = step.accumulate_gradients(batch, tf.constant(1.0), 1)
    assert not finite

"""The step's two halves: XLA compiles the first and never the second; reduced precision trains."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from job import training
from job.settings import TransferMode
from job.training.step import FIRST_SCALE, GROW_AFTER, LossScale, Step
from job.transfer import Plan, Stage


def plan_of(mode: TransferMode, toy: Any) -> Plan:
    cut = toy.cuts[0] if mode == "part" else None
    return Plan(mode, "asked", "setting", cut, (Stage("tune", mode, 1.0, False),), 0, 0)


def step_of(toy: Any, xla: bool) -> Step:
    variables = toy.model.trainable_variables
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(variables)
    forward = lambda images: toy.head(toy.pool(toy.backbone(images, training=False)), training=True)  # noqa: E731
    return Step(tf.distribute.get_strategy(), forward, variables, optimizer, 1.0, xla)


BATCH = (
    tf.ones((4, 16, 16, 3)),
    tf.one_hot([0, 1, 2, 0], 3),
    tf.fill((4,), 0.25),
    tf.constant(1.0),
)


def compiled(function: Any) -> bool:
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for inner in graph.library.function for node in inner.node_def)]
    attributes = [*nodes, *graph.library.function]
    return any(
        item.attr["_XlaMustCompile"].b for item in attributes if "_XlaMustCompile" in item.attr
    )


def test_xla_compiles_the_gradient_and_never_the_update(toy) -> None:
    step = step_of(toy(), xla=True)
    _, finite, shares = step.gradients(*BATCH)
    assert finite
    step.update(shares)
    assert compiled(step.gradients.get_concrete_function(*BATCH))
    assert not compiled(step.update.get_concrete_function(shares))


def test_xla_gives_the_gradient_that_plain_tensorflow_gives(toy) -> None:
    (loss, _, one), (other_loss, _, other) = (
        step_of(toy(), xla).gradients(*BATCH) for xla in (True, False)
    )
    np.testing.assert_allclose(loss, other_loss, rtol=1e-5)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("mode", ["part", "all"])
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_reduced_precision_trains_over_kept_activations_too(
    toy, feed, context, cache, precision, mode
) -> None:
    keras.config.set_dtype_policy(precision)
    try:
        classifier = toy(head_dtype="float32")
    finally:
        keras.config.set_dtype_policy("float32")
    fitted = training.fit(
        classifier, plan_of(mode, classifier), feed(), context(precision=precision, epochs=6), cache
    )
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
    assert all(np.isfinite(variable.numpy()).all() for variable in classifier.model.variables)


def test_the_loss_scale_grows_after_many_good_steps_and_gives_up_below_1() -> None:
    scale = LossScale(active=True)
    for _ in range(GROW_AFTER):
        scale.succeeded()
    assert scale.value == 2 * FIRST_SCALE
    halvings = 0
    while scale.overflowed():
        halvings += 1
    assert halvings == 16


def test_without_float16_nothing_is_scaled_and_an_overflow_is_the_end() -> None:
    scale = LossScale(active=False)
    scale.succeeded()
    assert scale.value == 1
    assert not scale.overflowed()


def test_a_gradient_is_clipped_to_its_global_norm(toy) -> None:
    shares = step_of(toy(), xla=False).gradients(BATCH[0] * 255, *BATCH[1:])[2]
    assert float(tf.linalg.global_norm(shares)) <= 1 + 1e-5

"""Run as a process of its own, since devices are divided before TensorFlow computes: `two_devices.py SCENARIO DEVICES`.

Prints JSON: the weights after training, on each replica, and the loss scale.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from job import workers
from job.settings import DevicesSettings
from job.training.step import LossScale, Step
from tests.training.conftest import build_toy

CLIP_NORM, RATE, STEPS = 0.05, 0.05, 6


def main(scenario: str, devices: int) -> None:
    team = workers.join(DevicesSettings(logical_cpus=devices, threads=1))
    keras.config.set_dtype_policy("mixed_float16" if scenario == "overflow" else "float32")
    with team.strategy.scope():
        toy = build_toy()
        variables = toy.model.trainable_variables
        optimizer = keras.optimizers.SGD(RATE)  # Adam would hide a gradient that is summed twice.
        optimizer.build(variables)
    step = Step(team.strategy, _forward(toy), variables, optimizer, CLIP_NORM, xla=False)
    scale, skipped = LossScale(scenario == "overflow"), 0
    for batch in team.strategy.experimental_distribute_dataset(_batches(scenario)):
        _, finite, shares = step.gradients(*batch, tf.constant(scale.value))
        if finite:
            step.update(shares)
            scale.succeeded()
        else:
            skipped += 1
            scale.overflowed()
    replicas = [
        [
            np.asarray(local, np.float64).ravel().tolist()
            for local in _locals(team.strategy, variable)
        ]
        for variable in variables
    ]
    print(
        json.dumps(
            {
                "replicas": team.replicas,
                "weights": replicas,
                "scale": scale.value,
                "skipped": skipped,
            }
        )
    )


def _locals(strategy: Any, variable: Any) -> Any:
    return strategy.experimental_local_results(variable.value)


def _forward(toy: Any) -> Callable[[Any], Any]:
    return lambda images: tf.cast(
        toy.head(toy.pool(toy.backbone(images, training=False)), training=True), tf.float32
    )


def _batches(scenario: str) -> tf.data.Dataset:
    random = np.random.default_rng(0)
    images = random.uniform(0, 255, (STEPS * 8, 16, 16, 3)).astype(np.float32)
    targets = np.eye(3, dtype=np.float32)[random.integers(0, 3, STEPS * 8)]
    weights = np.full(STEPS * 8, 1 / 8, np.float32)
    if scenario == "overflow":
        weights[2 * 8 + 7] = np.inf  # the last image of a batch is the second device's
    return tf.data.Dataset.from_tensor_slices((images, targets, weights)).batch(
        8, drop_remainder=True
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

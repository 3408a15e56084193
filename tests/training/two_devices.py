"""Training on logical devices: `python -m tests.training.two_devices SCENARIO DEVICES`.

A process of its own, since devices are divided before TensorFlow computes. Prints JSON: the weights
after training, on each replica, and the loss scale.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from job import workers
from job.settings import DevicesSettings, TrainingSettings
from job.training.step import LossScale, build_train_step
from tests.training.conftest import build_classifier

CLIP_NORM, RATE, STEPS = 0.05, 0.05, 6


def main(scenario: str, devices: int) -> None:
    team = workers.join(DevicesSettings(logical_cpus=devices, threads=1))
    precision = "mixed_float16" if scenario == "overflow" else "float32"
    keras.config.set_dtype_policy(precision)
    with team.strategy.scope():
        classifier = build_classifier()
        variables = classifier.model.trainable_variables
        optimizer = keras.optimizers.SGD(RATE)  # Adam would hide a gradient that is summed twice.
        optimizer.build(variables)

    def forward(images: tf.Tensor) -> tf.Tensor:
        features = classifier.pool(classifier.backbone(images, training=False))
        return tf.cast(classifier.head(features, training=True), tf.float32)

    settings = TrainingSettings(clip_norm=CLIP_NORM, xla=False)
    step = build_train_step(team.strategy, forward, variables, optimizer, settings)
    scale, skipped = LossScale.for_precision(precision), 0
    batches = team.strategy.experimental_distribute_dataset(draw_batches(scenario))
    for number, batch in enumerate(batches):
        if scenario == "parts" and number % 2:
            # As where memory is short: of its 4 images a device takes 3, and then the last one.
            found = step.accumulate_gradients(batch, tf.constant(scale.value), 3)
        else:
            found = step.compute_gradients(*batch, tf.constant(scale.value))
        _, finite, gradients = found
        if finite:
            step.update(gradients)
            scale.record_success()
        else:
            skipped += 1
            scale.reduce_after_overflow()

    weights = []
    for variable in variables:
        replicas = team.strategy.experimental_local_results(variable.value)
        weights.append([np.asarray(values, np.float64).ravel().tolist() for values in replicas])
    outcome = {
        "replicas": team.replicas,
        "weights": weights,
        "scale": scale.value,
        "skipped": skipped,
    }
    print(json.dumps(outcome))


def draw_batches(scenario: str) -> tf.data.Dataset:
    random = np.random.default_rng(0)
    images = random.uniform(0, 255, (STEPS * 8, 16, 16, 3)).astype(np.float32)
    targets = np.eye(3, dtype=np.float32)[random.integers(0, 3, STEPS * 8)]
    weights = np.full(STEPS * 8, 1 / 8, np.float32)
    if scenario == "overflow":
        weights[2 * 8 + 7] = np.inf  # the last image of a batch is the second device's
    examples = tf.data.Dataset.from_tensor_slices((images, targets, weights))
    return examples.batch(8, drop_remainder=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

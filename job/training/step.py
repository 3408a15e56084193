"""One training step for one device, several GPUs of a node and several workers.

The gradient and the update are two functions (decision 0006): XLA compiles the first and never the
second, and a gradient that is not finite is seen before it touches a weight.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from job.settings import TrainingSettings

# float16 has 5 exponent bits: small gradients vanish unless the loss is scaled up first (arXiv
# 1710.03740).
FIRST_SCALE, GROW_AFTER = 2.0**15, 2000


@dataclass(slots=True)
class LossScale:
    """The factor on the loss for float16.

    It is halved when a gradient overflows and doubled after many good steps.

    Attributes:
        active: False for every other precision, whose factor is always 1.
        value: the factor.
        good: steps since the last overflow.
    """

    active: bool
    value: float
    good: int = 0

    @classmethod
    def for_precision(cls, precision: str) -> "LossScale":
        """The scale at the beginning of a stage. `precision` names a Keras dtype policy."""
        active = precision == "mixed_float16"
        return cls(active, FIRST_SCALE if active else 1.0)

    def record_success(self) -> None:
        self.good += 1
        if self.active and self.good % GROW_AFTER == 0:
            self.value *= 2

    def reduce_after_overflow(self) -> bool:
        """Halve the factor; False when no smaller one would help: the model itself has diverged."""
        self.good = 0
        self.value /= 2
        return self.active and self.value >= 1.0


@dataclass(frozen=True, slots=True)
class TrainStep:
    """A step in two halves.

    Attributes:
        compute_gradients: (inputs, targets, weights, loss scale) -> (loss, finite, gradients): the
            loss summed over all devices, whether the gradient of each of them is finite, and the
            part that each device adds to the whole gradient.
        update: gradients -> None.
    """

    compute_gradients: Callable[..., tuple[Any, Any, Any]]
    update: Callable[[Any], None]


def build_train_step(
    strategy: Any,
    forward: Callable[[tf.Tensor], tf.Tensor],
    variables: Sequence[Any],
    optimizer: Any,
    settings: TrainingSettings,
) -> TrainStep:
    """Build the functions of a step.

    Args:
        strategy: TensorFlow's. Losses and gradients are summed over its devices.
        forward: inputs [batch, ...] -> logits float32 [batch, classes], in training mode.
        variables: what is trained.
        optimizer: a Keras optimizer, built for `variables` in the strategy's scope.
        settings: `clip_norm` is the largest global norm of the summed gradient, where 0 does not
            clip. `xla` compiles the gradient function of each device.
    """

    def compute_gradient(inputs: Any, targets: Any, weights: Any, scale: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            logits = forward(inputs)
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
            loss = tf.reduce_sum(weights * losses)
            scaled = loss * scale
        sources = [variable.value for variable in variables]
        return loss, tape.gradient(scaled, sources)

    differentiate = compute_gradient
    if settings.xla:
        differentiate = tf.function(compute_gradient, jit_compile=True, autograph=False)

    def run_device(
        inputs: Any,
        targets: Any,
        weights: Any,
        scale: Any,
    ) -> tuple[Any, Any, list[Any]]:
        loss, scaled = differentiate(inputs, targets, weights, scale)
        # A layer that looks rows up has a sparse gradient, which cannot be divided.
        dense = [tf.convert_to_tensor(part) for part in scaled]
        gradient = [part / tf.cast(scale, part.dtype) for part in dense]
        checks = []
        for part in (loss, *gradient):
            is_finite = tf.math.is_finite(part)
            checks.append(tf.reduce_all(is_finite))
        finite = tf.reduce_all(checks)
        if settings.clip_norm:
            # The norm that counts is that of the gradient summed over the devices: it is what one
            # device would see.
            context = tf.distribute.get_replica_context()
            total = context.all_reduce(tf.distribute.ReduceOp.SUM, gradient)
            norm = tf.linalg.global_norm(total)
            factor = settings.clip_norm / tf.maximum(norm, settings.clip_norm)
            gradient = [part * factor for part in gradient]
        # As a number, since only numbers can be summed over the devices.
        return loss, tf.cast(finite, tf.float32), gradient

    def update_device(gradient: list[Any]) -> None:
        # Where a worker has one device, a gradient comes as a plain argument. What is made here has
        # a device to sum on.
        own = [tf.identity(part) for part in gradient]
        optimizer.apply(own, variables)

    def add_up(values: Any) -> Any:
        return strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)

    @tf.function(autograph=False)
    def compute_gradients(inputs: Any, targets: Any, weights: Any, scale: Any) -> Any:
        arguments = (inputs, targets, weights, scale)
        losses, finite, gradients = strategy.run(run_device, args=arguments)
        loss = add_up(losses)
        devices = float(strategy.num_replicas_in_sync)
        all_finite = tf.equal(add_up(finite), devices)
        return loss, all_finite, gradients

    @tf.function(autograph=False)
    def update(gradients: Any) -> None:
        # `apply` sums over the devices. A second sum here would not show with Adam, which divides
        # by the size of the gradient.
        strategy.run(update_device, args=(gradients,))

    return TrainStep(compute_gradients, update)

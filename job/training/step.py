"""One training step for one device, several GPUs of a node and several workers.

The gradient and the update are two functions (decision 0006): XLA compiles the first and never the
second, and a gradient that is not finite is seen before it touches a weight.
"""

import operator
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
        accumulate_gradients: (batch, loss scale, rows) -> the same, computed on so many rows of
            each device after the other. `batch` is (inputs, targets, weights). The weights sum to 1
            over the whole batch and BatchNorm uses what it has learnt before. So it is the same
            gradient up to rounding, and needs the memory of so many rows. Dropout draws again for
            each part.
        update: gradients -> None.
    """

    compute_gradients: Callable[..., tuple[Any, Any, Any]]
    accumulate_gradients: Callable[[tuple[Any, ...], Any, int], tuple[Any, Any, Any]]
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
    run_part, finish_device = _build_device_functions(forward, variables, settings)

    def update_device(gradient: list[Any]) -> None:
        # Where a worker has one device, a gradient comes as a plain argument. What is made here has
        # a device to sum on.
        own = [tf.identity(part) for part in gradient]
        optimizer.apply(own, variables)

    def add_up(values: Any) -> Any:
        return strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)

    def join_devices(losses: Any, finite: Any, gradients: Any) -> tuple[Any, Any, Any]:
        loss = add_up(losses)
        devices = float(strategy.num_replicas_in_sync)
        all_finite = tf.equal(add_up(finite), devices)
        return loss, all_finite, gradients

    @tf.function(autograph=False)
    def compute_gradients(inputs: Any, targets: Any, weights: Any, scale: Any) -> Any:
        def run_device(*batch: Any) -> tuple[Any, Any, list[Any]]:
            return finish_device(*run_part(*batch))

        return join_devices(*strategy.run(run_device, args=(inputs, targets, weights, scale)))

    @tf.function(autograph=False)
    def finish(whole: Any) -> Any:
        return join_devices(*strategy.run(finish_device, args=whole))

    accumulate_gradients = _build_accumulation(strategy, run_part, finish)

    @tf.function(autograph=False)
    def update(gradients: Any) -> None:
        # `apply` sums over the devices. A second sum here would not show with Adam, which divides
        # by the size of the gradient.
        strategy.run(update_device, args=(gradients,))

    return TrainStep(compute_gradients, accumulate_gradients, update)


def _build_device_functions(
    forward: Callable[[tf.Tensor], tf.Tensor], variables: Sequence[Any], settings: TrainingSettings
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What one device computes of a gradient.

    Returns:
        (inputs, targets, weights, loss scale) -> (loss, gradient) of some images, and
        (loss, gradient) -> (loss, finite, clipped gradient) of all images of the device.
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

    def run_part(inputs: Any, targets: Any, weights: Any, scale: Any) -> tuple[Any, list[Any]]:
        loss, scaled = differentiate(inputs, targets, weights, scale)
        # A layer that looks rows up has a sparse gradient, which cannot be divided.
        dense = [tf.convert_to_tensor(part) for part in scaled]
        return loss, [part / tf.cast(scale, part.dtype) for part in dense]

    def finish_device(loss: Any, gradient: list[Any]) -> tuple[Any, Any, list[Any]]:
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

    return run_part, finish_device


def _build_accumulation(
    strategy: Any, run_part: Callable[..., Any], finish: Callable[..., Any]
) -> Callable[[tuple[Any, ...], Any, int], Any]:
    """`TrainStep.accumulate_gradients`, from what is done with a part and with the sum of all."""

    @tf.function(autograph=False)
    def compute_part(*arguments: Any) -> Any:
        return strategy.run(run_part, args=arguments)

    def add_on_device(*pair: Any) -> Any:
        return tf.nest.map_structure(operator.add, *pair)

    @tf.function(autograph=False)
    def add_part(so_far: Any, part: Any) -> Any:
        return strategy.run(add_on_device, args=(so_far, part))

    def accumulate_gradients(batch: tuple[Any, ...], scale: Any, rows: int) -> Any:
        size = strategy.experimental_local_results(batch[0])[0].shape[0]
        whole = None
        # One call after the other: inside one graph, TensorFlow might run them at the same time.
        for first in range(0, size, rows):
            own = slice(first, first + rows)
            cut = [strategy.run(operator.getitem, args=(values, own)) for values in batch]
            part = compute_part(*cut, scale)
            whole = part if whole is None else add_part(whole, part)
        return finish(whole)

    return accumulate_gradients

"""One training step for one device, several GPUs of a node and several workers.

The gradient and the update are two functions, so that XLA compiles the first and never the second,
and so that a gradient which is not finite is seen before it touches a weight.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

# float16 has 5 exponent bits: small gradients vanish unless the loss is scaled up first (arXiv
# 1710.03740).
FIRST_SCALE, GROW_AFTER = 2.0**15, 2000


class LossScale:
    """Dynamic loss scaling for float16: halved when a gradient overflows, doubled after many good steps."""

    def __init__(self, active: bool) -> None:
        self.active = active
        self.value = FIRST_SCALE if active else 1.0
        self.good = 0

    def succeeded(self) -> None:
        self.good += 1
        if self.active and self.good % GROW_AFTER == 0:
            self.value *= 2

    def overflowed(self) -> bool:
        """Take a step back; False when there is no room left, so the model itself has diverged."""
        self.good = 0
        self.value /= 2
        return self.active and self.value >= 1.0


class Step:
    """A compiled step: `gradients`, then `update` if they are finite.

    Args:
        strategy: TensorFlow's; losses and gradients are summed over its replicas.
        forward: inputs [batch, ...] -> logits float32 [batch, classes], in training mode.
        variables: what is trained.
        optimizer: a Keras optimizer, built for `variables` in the strategy's scope.
        clip_norm: largest global norm of the summed gradient; 0 does not clip.
        xla: compile the gradient function of each replica.
    """

    def __init__(
        self,
        strategy: Any,
        forward: Callable[[tf.Tensor], tf.Tensor],
        variables: Sequence[Any],
        optimizer: Any,
        clip_norm: float,
        xla: bool,
    ) -> None:
        self._strategy, self._forward, self._optimizer = strategy, forward, optimizer
        self._variables, self._clip_norm = list(variables), clip_norm
        self._local = (
            tf.function(self._local_gradients, jit_compile=True, autograph=False)
            if xla
            else self._local_gradients
        )
        self.gradients = tf.function(self._gradients, autograph=False)
        self.update = tf.function(self._update, autograph=False)

    def _gradients(
        self, inputs: Any, targets: Any, weights: Any, scale: tf.Tensor
    ) -> tuple[Any, Any, Any]:
        """(loss, finite, gradients): summed loss, whether every replica's gradient is finite, one share per replica."""
        losses, finite, shares = self._strategy.run(
            self._replica, args=(inputs, targets, weights, scale)
        )
        return (
            self._sum(losses),
            tf.equal(self._sum(finite), float(self._strategy.num_replicas_in_sync)),
            shares,
        )

    def _update(self, shares: Any) -> None:
        # `apply` sums over the replicas; summing here too would hide behind Adam's normalisation
        # (facts 3).
        self._strategy.run(self._apply, args=(shares,))

    def _apply(self, share: list[Any]) -> None:
        # Where a worker has one device, a share comes as a plain argument; what is made here has a
        # device to sum on.
        self._optimizer.apply([tf.identity(part) for part in share], self._variables)

    def _sum(self, values: Any) -> Any:
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)

    def _replica(
        self, inputs: Any, targets: Any, weights: Any, scale: Any
    ) -> tuple[Any, Any, list[Any]]:
        loss, share = self._local(inputs, targets, weights, scale)
        share = [tf.convert_to_tensor(part) / tf.cast(scale, part.dtype) for part in share]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(part)) for part in [loss, *share]])
        return loss, tf.cast(finite, tf.float32), self._clipped(share)

    def _local_gradients(
        self, inputs: Any, targets: Any, weights: Any, scale: Any
    ) -> tuple[Any, list[Any]]:
        with tf.GradientTape() as tape:
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, self._forward(inputs))
            loss = tf.reduce_sum(weights * losses)
            scaled = loss * scale
        return loss, tape.gradient(scaled, [variable.value for variable in self._variables])

    def _clipped(self, share: list[Any]) -> list[Any]:
        """Clip by the norm of the gradient summed over the replicas, which is what one device would see."""
        if not self._clip_norm:
            return share
        total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, share)
        factor = self._clip_norm / tf.maximum(tf.linalg.global_norm(total), self._clip_norm)
        return [part * factor for part in share]

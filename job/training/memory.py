"""Batches that are too large for the memory of a device are taken in parts."""

import logging
from typing import Any

import tensorflow as tf

from job.errors import SettingsError
from job.plurals import format_count
from job.training.context import TrainingContext
from job.training.step import LossScale, TrainStep

logger = logging.getLogger(__name__)


class GradientComputer:
    """Computes the gradient of each batch, in parts from the first one on that does not fit.

    Args:
        train_step: the functions of a step.
        context: of the training.

    Attributes:
        rows: of a batch that a device takes at once. None: all of them.
    """

    def __init__(self, train_step: TrainStep, context: TrainingContext) -> None:
        self._train_step = train_step
        self._context = context
        self.rows: int | None = None

    def compute(self, batch: tuple[Any, ...], scale: LossScale) -> tuple[Any, Any, Any]:
        """Compute (loss, finite, gradients) of a batch, as `TrainStep.compute_gradients`.

        Raises:
            SettingsError: the memory is too small for a single image, or for the whole batch where
                several workers train. They must call a step together, and not all of them may be
                short of memory.
        """
        strategy = self._context.workers.strategy
        size = strategy.experimental_local_results(batch[0])[0].shape[0]
        rows = self.rows or size
        while True:
            try:
                found = self._compute_rows(batch, scale, rows if rows < size else None)
            except tf.errors.ResourceExhaustedError as error:
                if rows == 1 or self._context.workers.count > 1:
                    raise _explain_out_of_memory(self._context) from error
                rows = -(-rows // 2)
                continue
            if rows < (self.rows or size):
                self.rows = rows
                logger.warning(
                    "The memory of a device is too small for a batch of %d images: each step adds "
                    "up the gradients of %d parts. GRAFT_TRAINING_BATCH_SIZE stays as it is.",
                    size,
                    -(-size // rows),
                )
            return found

    def _compute_rows(
        self, batch: tuple[Any, ...], scale: LossScale, rows: int | None
    ) -> tuple[Any, Any, Any]:
        factor = tf.constant(scale.value)
        if rows is None:
            return self._train_step.compute_gradients(*batch, factor)
        return self._train_step.accumulate_gradients(batch, factor, rows)


def _explain_out_of_memory(context: TrainingContext) -> SettingsError:
    size = context.settings.batch_size
    if context.workers.count > 1:
        message = f"The GPU's memory is too small for a batch of {format_count(size, 'image')}."
        cure = f"Set GRAFT_TRAINING_BATCH_SIZE={size // 2}, or add workers."
        return SettingsError(message, cure)
    message = "The GPU's memory is too small for a single image."
    return SettingsError(message, "Use a smaller backbone or image size.")

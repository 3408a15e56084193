"""How much of a stage is done, for people who wait for it."""

from job.batches import EVALUATION_BATCH, Feed
from job.telemetry import Progressed
from job.training.context import TrainingContext

# How often a refinement judges weights: the best ones, their mean, five on the line to the start,
# and those with another head.
JUDGEMENTS = 8


class StageWork:
    """Counts the batches of a stage, trained or judged, those of its refinement among them.

    A checkpoint is no batch. Its time is part of the pace.

    Args:
        feed: the images.
        context: whose telemetry hears of each batch.
    """

    def __init__(self, feed: Feed, context: TrainingContext) -> None:
        val = -(-len(feed.splits.val) // EVALUATION_BATCH)
        # Of several workers each judges a part.
        self._val = -(-val // context.workers.count)
        self._epoch = feed.steps + self._val
        self._refinement = JUDGEMENTS * self._val
        self._telemetry = context.telemetry
        self._trained = self._total = self._done = 0
        self._detail = ""

    def begin(self, epoch: int, step: int, until: int) -> None:
        """Begin, or go on, in the middle of an epoch (from 0). `until` is the last one."""
        self._trained = until * self._epoch
        self._total = self._trained + self._refinement
        self._done = epoch * self._epoch + step
        self._detail = ""

    def begin_refinement(self) -> None:
        """Leave out the epochs that are not needed."""
        self._done = self._trained
        self._detail = "refinement"

    def count_batch(self) -> None:
        """Count a batch."""
        self._done = min(self._done + 1, self._total)
        self._telemetry.emit(Progressed(self._done, self._total, "batches", self._detail))

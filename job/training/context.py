"""What every stage of a run works with."""

from dataclasses import dataclass

from job.checkpoint import CheckpointStore
from job.features import FeatureCache
from job.settings import GateSettings, TrainingSettings
from job.telemetry import Telemetry
from job.workers import Stop, Workers


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingContext:
    """The surroundings of a training.

    Attributes:
        settings: the `training` group.
        gate: the `gate` group, whose metric chooses the best weights.
        workers: the devices of this process and of the others.
        precision: the name of a Keras dtype policy.
        checkpoints: where the state of the training is kept.
        cache: where the activations of frozen networks are kept.
        telemetry: hears of steps, epochs and checkpoints.
        stop: SIGTERM.
    """

    settings: TrainingSettings
    gate: GateSettings
    workers: Workers
    precision: str
    checkpoints: CheckpointStore
    cache: FeatureCache
    telemetry: Telemetry
    stop: Stop

    def agree_to_stop(self) -> bool:
        """Whether any worker was asked to stop; then all of them are, at the same place."""
        stopping = self.workers.any(self.stop.requested)
        if stopping:
            self.stop.follow_others()
        return stopping

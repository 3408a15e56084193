"""What the phases of `learn` hand on: the network, what was trained, and all that is released.

Imported late: TensorFlow comes with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from job.audit import Census, Splits
from job.batches import Feed
from job.evaluation import Report
from job.export import Bundle
from job.model import Classifier
from job.pipeline.inputs import RunInputs
from job.publish import History
from job.selection import BackboneChoice, MeasuredData
from job.training import Fitted, StageFeatures, TrainingContext
from job.transfer import Plan
from job.weights import Weights
from job.workers import Workers


@dataclass(frozen=True, slots=True)
class Network:
    """A classifier, the weights that it starts from, its batches, and what is retrained.

    Attributes:
        plan: None where a race of several candidates decides.
    """

    classifier: Classifier
    weights: Weights
    feed: Feed
    plan: Plan | None

    @property
    def is_only_solved(self) -> bool:
        """Whether nothing is trained by steps, and this is known before anything is measured."""
        return self.plan is not None and all(stage.solved for stage in self.plan.stages)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedClassifier:
    """A trained classifier, and what it was trained on, from and by.

    Attributes:
        training: the surroundings of the training, with the features that it kept.
        backbones: how the backbone was chosen, if by measurement. None for workers that are not the
            chief.
        features: of the backbone as it was pre-trained. None where the head cannot be solved, and
            for workers that are not the chief.
        measured: what the features tell. None without features, and as long as it is not measured:
            where nothing depends on it, that is done while the export runs.
    """

    training: TrainingContext
    census: Census
    backbones: BackboneChoice | None
    network: Network
    features: StageFeatures | None
    measured: MeasuredData | None
    fitted: Fitted

    @property
    def workers(self) -> Workers:
        return self.training.workers

    @property
    def classifier(self) -> Classifier:
        return self.fitted.classifier

    @property
    def plan(self) -> Plan:
        return self.fitted.plan

    @property
    def splits(self) -> Splits:
        return self.network.feed.splits


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """Everything that is known about a run before it is released.

    Attributes:
        seconds: that this process has spent in each phase so far, by name.
        worker_count: how many workers trained.
    """

    inputs: RunInputs
    trained: TrainedClassifier
    report: Report
    bundle: Bundle
    history: History
    seconds: Mapping[str, float]
    worker_count: int

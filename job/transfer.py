"""Retrain none, a part or all of the backbone: as a plan of stages, with the reason written down.

The lecture behind this project has four quadrants: much or little data, like or unlike what the
backbone has seen. `selection` measures where the data are. This room has what needs no measurement:
the modes that are asked for, and the size axis for heads that cannot be solved.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from job.audit import Splits
from job.batches import collect_labels
from job.model import Classifier, Cut, find_stage_ends
from job.plurals import format_count
from job.settings import Pooling, TransferMode, TransferSettings

SMALL, LARGE = 20_000, 500_000
# Below this many images in the median class a freed backbone learns the images by heart.
FEW_PER_CLASS = 50


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of training.

    Attributes:
        name: of its rows in the history.
        frees: what is trained besides the head: none, part or all of the backbone.
        rate: a factor on the learning rate.
        solved: the head is not trained by steps, but computed.
    """

    name: str
    frees: TransferMode
    rate: float
    solved: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """How much of the backbone is retrained.

    Attributes:
        mode: none, part or all of it.
        cut: the boundary of `part`: everything before it stays frozen. Other modes have none.
        reason: a sentence with the numbers that decided.
        rule: who decided, or where the thresholds come from.
    """

    mode: TransferMode
    cut: Cut | None
    reason: str
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is retrained and why.

    Attributes:
        mode: what the last stage frees.
        pooling: of the head.
        reason: a sentence with the numbers that decided.
        rule: where the thresholds come from.
        cut: the boundary of `part`: everything before it stays frozen. Other modes have none.
        stages: in the order of the training.
        trainable: parameters that the last stage changes.
        total: parameters of the whole network.
    """

    mode: TransferMode
    pooling: Pooling
    reason: str
    rule: str
    cut: Cut | None
    stages: tuple[Stage, ...]
    trainable: int
    total: int

    def facts(self) -> dict[str, Any]:
        """The plan as JSON for the manifest and the report."""
        stages = []
        for stage in self.stages:
            suffix = " (solved)" if stage.solved else ""
            stages.append(f"{stage.name}{suffix}")
        return {
            "mode": self.mode,
            "pooling": self.pooling,
            "reason": self.reason,
            "rule": self.rule,
            # By name: the tensor of a cut is not JSON.
            "cut": self.cut and self.cut.name,
            "stages": stages,
            "trainable": self.trainable,
            "total": self.total,
        }


def choose_plan(
    settings: TransferSettings,
    classifier: Classifier,
    splits: Splits,
    pretrained: bool = True,
) -> Plan | None:
    """Decide what is retrained, where that needs no measurement.

    Args:
        settings: the `transfer` group.
        classifier: with its places to cut.
        splits: the images, whose number decides where a head cannot be solved.
        pretrained: whether the backbone has seen anything. Random weights are worth nothing frozen.

    Returns:
        None in mode `auto`, where a race of several candidates decides.
    """
    if settings.mode != "auto":
        reason = f"GRAFT_TRANSFER_MODE={settings.mode} asks for it."
        choice = Choice(settings.mode, None, reason, "setting")
    elif not pretrained:
        reason = "The backbone has random weights: nothing to keep."
        choice = Choice("all", None, reason, "random weights")
    elif classifier.solvable:
        return None
    else:
        choice = _choose_by_size(splits)
    if choice.mode == "part":
        choice = replace(choice, cut=choose_cut(classifier.cuts, settings.stages))
    return make_plan(settings, classifier, choice)


def make_plan(settings: TransferSettings, classifier: Classifier, choice: Choice) -> Plan:
    """Plan the stages of a mode that has been chosen."""
    mode = choice.mode
    probe = Stage(name="probe", frees="none", rate=1.0, solved=classifier.solvable)
    # Where the head is good already, large steps would spoil what the backbone knows.
    rate = settings.rate_factor if settings.probe else 1.0
    tune = Stage(name="tune", frees=mode, rate=rate, solved=False)
    stages: tuple[Stage, ...] = (tune,)
    if mode == "none":
        stages = (probe,)
    elif settings.probe:
        stages = (probe, tune)

    trainable = 0
    for variable in select_variables(classifier, mode, choice.cut):
        trainable += int(np.prod(variable.shape))
    return Plan(
        mode=mode,
        pooling=classifier.spec.head.pooling,
        reason=choice.reason,
        rule=choice.rule,
        cut=choice.cut,
        stages=stages,
        trainable=trainable,
        total=classifier.model.count_params(),
    )


def select_variables(classifier: Classifier, frees: TransferMode, cut: Cut | None) -> list[Any]:
    """The variables that a stage changes: the freed ones of the backbone, and the head's.

    Args:
        classifier: whose variables.
        frees: which part of the backbone.
        cut: the boundary of `part`.
    """
    head = classifier.head.trainable_variables
    if frees == "none":
        return list(head)
    freed = classifier.backbone if cut is None else classifier.top(cut)
    return [*freed.trainable_variables, *head]


def _choose_by_size(splits: Splits) -> Choice:
    """Choose by the number of images alone, with published thresholds (BiT, arXiv 1912.11370)."""
    images = len(splits.train)
    labels = collect_labels(splits.train)
    counts = np.bincount(labels, minlength=len(splits.classes))
    # The median, because a few large classes do not help the small ones.
    typical = int(np.median(counts))
    facts = f"{format_count(images, 'training image')}, {typical:,} in the median class"
    if images < SMALL:
        advice = "too few to retrain the backbone without forgetting what it knows"
        return Choice("none", None, f"{facts}: {advice}.", "size (BiT)")
    if typical < FEW_PER_CLASS:
        advice = "too few per class to retrain the backbone without learning them by heart"
        return Choice("none", None, f"{facts}: {advice}.", "size per class")
    if images < LARGE:
        advice = "enough for the last stage, which is the most specific to ImageNet"
        return Choice("part", None, f"{facts}: {advice}.", "size (BiT)")
    advice = "enough to retrain everything from ImageNet's weights"
    return Choice("all", None, f"{facts}: {advice}.", "size (BiT)")


def choose_cut(cuts: Sequence[Cut], stages: int) -> Cut:
    """Choose the cut before the last `stages` resolutions of a backbone, or the first one."""
    ends = find_stage_ends(cuts)
    return ends[max(0, len(ends) - stages)]

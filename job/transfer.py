"""Retrain none, a part or all of the backbone: chosen from the data, with the reason written down.

The lecture behind this project has four quadrants: much or little data, like or unlike what the
backbone has seen. The size axis uses published thresholds: BiT's (arXiv 1912.11370: small below 20k
images, large from 500k on).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from job.audit import Splits
from job.batches import collect_labels
from job.model import Classifier, Cut
from job.settings import TransferMode, TransferSettings

SMALL, LARGE = 20_000, 500_000
# Below this many images in the median class a freed backbone learns the images by heart.
FEW_PER_CLASS = 50
# Inverted bottlenecks widen by 3 to 6 inside a block; from stage to stage a network widens by 2 at
# most.
WIDENING = 2


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of training.

    Attributes:
        name: of its rows in the history.
        frees: what is trained besides the head: none, part or all of the backbone.
        rate: a factor on the learning rate.
        solved: the head is not trained by steps, but computed.
    """

    name: Literal["probe", "tune"]
    frees: TransferMode
    rate: float
    solved: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is retrained and why.

    Attributes:
        mode: what the last stage frees.
        reason: a sentence with the numbers that decided.
        rule: where the thresholds come from.
        cut: the boundary of `part`: everything before it stays frozen. Other modes have none.
        stages: in the order of the training.
        trainable: parameters that the last stage changes.
        total: parameters of the whole network.
    """

    mode: TransferMode
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
) -> Plan:
    """Decide what is retrained.

    Args:
        settings: the `transfer` group.
        classifier: with its places to cut.
        splits: the images, whose number decides in mode `auto`.
        pretrained: whether the backbone has seen anything. Random weights are worth nothing frozen.
    """
    mode, reason, rule = _choose_mode(settings, splits, pretrained)
    cut = None
    if mode == "part":
        cut = choose_cut(classifier.cuts, settings.stages)

    stages: tuple[Stage, ...]
    probe = Stage(
        name="probe",
        frees="none",
        rate=1.0,
        solved=is_solvable(classifier),
    )
    if mode == "none":
        stages = (probe,)
    elif settings.probe:
        # The head is good by then, and large steps would spoil what the backbone knows.
        tune = Stage(
            name="tune",
            frees=mode,
            rate=settings.rate_factor,
            solved=False,
        )
        stages = (probe, tune)
    else:
        tune = Stage(
            name="tune",
            frees=mode,
            rate=1.0,
            solved=False,
        )
        stages = (tune,)

    trainable = 0
    for variable in select_variables(classifier, mode, cut):
        trainable += int(np.prod(variable.shape))
    return Plan(
        mode=mode,
        reason=reason,
        rule=rule,
        cut=cut,
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


def _choose_mode(
    settings: TransferSettings,
    splits: Splits,
    pretrained: bool,
) -> tuple[TransferMode, str, str]:
    """Choose (mode, reason, rule)."""
    if settings.mode != "auto":
        return settings.mode, f"GRAFT_TRANSFER_MODE={settings.mode} asks for it.", "setting"
    if not pretrained:
        return "all", "The backbone has random weights: nothing to keep.", "random weights"

    images = len(splits.train)
    labels = collect_labels(splits.train)
    counts = np.bincount(labels, minlength=len(splits.classes))
    # The median, because a few large classes do not help the small ones.
    typical = int(np.median(counts))
    facts = f"{images:,} training images, {typical:,} in the median class"
    if images < SMALL:
        advice = "too few to retrain the backbone without forgetting what it knows"
        return "none", f"{facts}: {advice}.", "size (BiT)"
    if typical < FEW_PER_CLASS:
        advice = "too few per class to retrain the backbone without learning them by heart"
        return "none", f"{facts}: {advice}.", "size per class"
    if images < LARGE:
        advice = "enough for the last stage, which is the most specific to ImageNet"
        return "part", f"{facts}: {advice}.", "size (BiT)"
    advice = "enough to retrain everything from ImageNet's weights"
    return "all", f"{facts}: {advice}.", "size (BiT)"


def is_solvable(classifier: Classifier) -> bool:
    """Whether the head is one linear layer on pooled features: then its optimum can be computed."""
    layers = [layer for layer in classifier.head.layers if layer.count_params()]
    # `flatten` gives so many features that the solver's matrices would not fit into memory.
    return len(layers) == 1 and classifier.pooling != "flatten"


def choose_cut(cuts: Sequence[Cut], stages: int) -> Cut:
    """Choose the cut before the last `stages` resolutions of a backbone.

    It is the narrow end of the stage before. A stage is everything at one spatial size that has
    weights: the last pooling of VGG has none. The block that shrinks the picture belongs to the
    stage that it opens, and so does a layer that pads or widens the tensor for it.
    """
    # Where a layer pads, the size grows again for a moment: such cuts are inside a block.
    unpadded: list[Cut] = []
    last_of_size: dict[int, Cut] = {}
    for cut in cuts:
        if not unpadded or cut.size <= unpadded[-1].size:
            unpadded.append(cut)
            last_of_size[cut.size] = cut

    sizes = [size for size, cut in last_of_size.items() if cut.parameters_above]
    place = max(0, len(sizes) - stages)
    size_before = sizes[place]
    chosen, *earlier = [cut for cut in reversed(unpadded) if cut.size == size_before]
    numbers = np.prod(chosen.shape)
    for cut in earlier:
        earlier_numbers = np.prod(cut.shape)
        if earlier_numbers != numbers:
            # A wide tensor belongs to the block that opens the next stage.
            widened = numbers > WIDENING * earlier_numbers
            return cut if widened else chosen
    return chosen

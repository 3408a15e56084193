"""Retrain none, a part or all of the backbone: chosen from the data, with the reason written down.

The lecture behind this project has four quadrants: much or little data, like or unlike what the
backbone has seen. The size axis uses published thresholds: BiT's (arXiv 1912.11370: small below 20k
images, large from 500k on).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

import numpy as np

from job.audit import Splits
from job.batches import label_array
from job.settings import TransferMode, TransferSettings

SMALL, LARGE = 20_000, 500_000
# Below this many images in the median class a freed backbone learns the images by heart.
FEW_PER_CLASS = 50
# Inverted bottlenecks widen by 3 to 6 inside a block; from stage to stage a network widens by 2 at
# most.
WIDENING = 2


@dataclass(frozen=True, slots=True)
class Stage:
    """One stretch of training. `frees` says what is trained besides the head: none, part or all of the backbone.

    `rate` is a factor on the learning rate; a `solved` head is not trained but computed.
    """

    name: Literal["probe", "tune"]
    frees: TransferMode
    rate: float
    solved: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What is retrained and why. `cut` is the boundary: what lies before it stays frozen; None frees everything."""

    mode: TransferMode
    reason: str
    rule: str
    cut: Any
    stages: tuple[Stage, ...]
    trainable: int
    total: int

    def facts(self) -> dict[str, Any]:
        """The plan as JSON for the manifest and the report."""
        return {
            "mode": self.mode,
            "reason": self.reason,
            "rule": self.rule,
            "cut": self.cut and self.cut.name,
            "stages": [stage.name + (" (solved)" if stage.solved else "") for stage in self.stages],
            "trainable": self.trainable,
            "total": self.total,
        }


def choose(
    settings: TransferSettings, classifier: Any, splits: Splits, pretrained: bool = True
) -> Plan:
    """Decide what is retrained.

    Args:
        settings: the `transfer` group.
        classifier: a `model.Classifier`.
        splits: the images that there are.
        pretrained: whether the backbone has seen anything; random weights are worth nothing frozen.
    """
    mode, reason, rule = _decide(settings, splits, pretrained)
    cut = last_stages(classifier.cuts, settings.stages) if mode == "part" else None
    trainable = sum(
        int(np.prod(variable.shape)) for variable in trained_variables(classifier, mode, cut)
    )
    total = classifier.model.count_params()
    return Plan(mode, reason, rule, cut, _stages(settings, classifier, mode), trainable, total)


def trained_variables(classifier: Any, frees: TransferMode, cut: Any) -> list[Any]:
    """The variables that a stage changes: the head's, and those of the backbone that lie behind the boundary."""
    if frees == "none":
        return list(classifier.head.trainable_variables)
    freed = classifier.backbone if frees == "all" else classifier.top(cut)
    return [*freed.trainable_variables, *classifier.head.trainable_variables]


def _decide(
    settings: TransferSettings, splits: Splits, pretrained: bool
) -> tuple[TransferMode, str, str]:
    if settings.mode != "auto":
        return settings.mode, f"GRAFT_TRANSFER_MODE={settings.mode} asks for it.", "setting"
    if not pretrained:
        return "all", "The backbone has random weights: nothing to keep.", "random weights"
    images, typical = len(splits.train), _images_per_class(splits)
    facts = f"{images:,} training images, {typical:,} in the median class"
    if images < SMALL:
        return (
            "none",
            f"{facts}: too few to retrain the backbone without forgetting what it knows.",
            "size (BiT)",
        )
    if typical < FEW_PER_CLASS:
        return (
            "none",
            f"{facts}: too few a class to retrain the backbone without learning them by heart.",
            "size a class",
        )
    if images < LARGE:
        return (
            "part",
            f"{facts}: enough for the last stage, which is the most specific to ImageNet.",
            "size (BiT)",
        )
    return "all", f"{facts}: enough to retrain everything from ImageNet's weights.", "size (BiT)"


def _images_per_class(splits: Splits) -> int:
    return int(np.median(np.bincount(label_array(splits.train), minlength=len(splits.classes))))


def _stages(settings: TransferSettings, classifier: Any, mode: TransferMode) -> tuple[Stage, ...]:
    probe = Stage("probe", "none", 1.0, solvable(classifier))
    if mode == "none":
        return (probe,)
    if not settings.probe:
        return (Stage("tune", mode, 1.0, False),)
    return probe, Stage("tune", mode, settings.rate_factor, False)


def solvable(classifier: Any) -> bool:
    """Whether the head is one linear layer on pooled features: then its optimum is computed, not approached."""
    dense = [layer for layer in classifier.head.layers if layer.count_params()]
    return len(dense) == 1 and classifier.pooling != "flatten"


def last_stages(cuts: Sequence[Any], stages: int) -> Any:
    """The cut before the last `stages` resolutions of a backbone: the narrow end of the stage before.

    A stage is everything at one spatial size that has weights: the last pooling of VGG has none.
    The block that shrinks the picture belongs to the stage that it opens, and so does a layer that
    pads or widens the tensor for it.
    """
    least = accumulate((cut.size for cut in cuts), min)
    unpadded = [cut for cut, size in zip(cuts, least, strict=True) if cut.size == size]
    ends = {cut.size: cut for cut in unpadded}
    sides = [side for side, end in ends.items() if end.parameters_above]
    before = sides[max(0, len(sides) - stages)]
    chosen, *earlier = (cut for cut in reversed(unpadded) if cut.size == before)
    for cut in earlier:
        if np.prod(cut.shape) != np.prod(chosen.shape):
            widened = np.prod(chosen.shape) > WIDENING * np.prod(cut.shape)
            return cut if widened else chosen
    return chosen

"""Rounds of a choice by successive halving: which images, and who goes on."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from job.measurement.curve import order_by_class
from job.scores import Labels, log_loss, score
from job.selection.rule import Judged, compute_paired_error

# Training images of each round, and the most validation images that judge.
ROUNDS = (500, 1000, 2000)
MOST_JUDGED = 1000
# Where there are many classes all these numbers grow, until the first round has so many images of
# each class.
LEAST_OF_A_CLASS = 5
# Of the sample, which is the same for all candidates and for all seeds of a run.
SEED = 20_170_621


def plan_rounds(images: int, classes: int) -> tuple[int, ...]:
    """Plan how many training images each round takes.

    Args:
        images: all training images.
        classes: of the data set.
    """
    scale = _find_scale(classes)
    fewer = [scale * size for size in ROUNDS if scale * size < images]
    return (*fewer, min(scale * ROUNDS[-1], images))[: len(ROUNDS)]


def draw_train(labels: Labels) -> NDArray[np.int64]:
    """Return positions of the training images in an order of which each start is stratified."""
    return order_by_class(labels, np.random.default_rng([SEED, 0]))


def draw_val(labels: Labels, classes: int) -> NDArray[np.int64]:
    """Return positions of the validation images that judge: all, or a stratified sample."""
    order = order_by_class(labels, np.random.default_rng([SEED, 1]))
    return np.sort(order[: _find_scale(classes) * MOST_JUDGED])


def list_kept(judged: Sequence[Judged], labels: Labels, metric: str) -> list[str]:
    """List who goes on: the better half, and who is within one standard error of the best.

    The standard error is that of the paired difference. Among equal scores the lower loss is
    better.

    Args:
        judged: at least one.
        labels: of the images that judged, int [n].
        metric: a key of `METRICS`.
    """

    def rank(one: Judged) -> tuple[float, float]:
        return score(metric, labels, one.logits), -log_loss(labels, one.logits)

    ranked = sorted(judged, key=rank, reverse=True)
    best, half = ranked[0], (len(ranked) + 1) // 2
    kept = []
    for place, one in enumerate(ranked):
        behind = rank(best)[0] - rank(one)[0]
        error = compute_paired_error(one.logits, best.logits, labels, metric)
        if place < half or behind <= error:
            kept.append(one.name)
    return kept


def _find_scale(classes: int) -> int:
    """By what the number of images is multiplied for many classes."""
    return max(1, -(-LEAST_OF_A_CLASS * classes // ROUNDS[0]))

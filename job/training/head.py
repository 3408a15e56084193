"""A linear head is solved, not trained: for each penalty, and the best of them is kept."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from job.linear import (
    Probe,
    Sample,
    choose_penalty,
    join,
    out_of_fold,
    set_trial,
    solve_path,
)
from job.scores import log_loss, score


@dataclass(frozen=True, slots=True)
class SolvedHead:
    """A linear head.

    Attributes:
        probe: the head with the best penalty.
        rows: of the history, one for each penalty.
        val_logits: of the validation images float32 [n, classes]. Where few images judge, they are
            those of heads that have not learnt the image.
    """

    probe: Probe
    rows: list[dict[str, Any]]
    val_logits: np.ndarray


def solve_head(
    train: Sample, val: Sample, metric: str, factors: np.ndarray | None = None
) -> SolvedHead:
    """Solve a head for each penalty, and keep the best one.

    The validation images judge. Where they are few, the penalty is chosen by folds over the
    training and the validation images instead, and the head learns from the training images alone.

    Args:
        train: what the head learns from.
        val: what judges it.
        metric: a key of `METRICS`.
        factors: of the standardised columns, float [d].
    """
    trial = set_trial(train, val)
    if trial.folds:
        choice = choose_penalty(trial, metric, factors)
        rows = []
        for row in choice.rows:
            rows.append(
                {
                    "stage": "probe",
                    # A penalty is not an epoch.
                    "epoch": None,
                    "penalty": row.penalty,
                    "val_loss": row.loss,
                    f"val_{metric}": row.score,
                }
            )
        for probe in solve_path(train.features, train.targets, train.weights, factors):
            if probe.penalty == choice.penalty:
                break
        logits = out_of_fold(join(train, val), choice.penalty, factors)
        return SolvedHead(probe, rows, logits[train.images :])

    probes: list[Probe] = []
    ranks: list[tuple[float, float]] = []
    rows = []
    for probe in solve_path(train.features, train.targets, train.weights, factors):
        val_logits = probe.logits(val.features)
        value = score(metric, val.labels, val_logits)
        val_loss = log_loss(val.labels, val_logits)
        loss = log_loss(train.labels, probe.logits(train.features))
        rows.append(
            {
                "stage": "probe",
                "epoch": None,
                "penalty": probe.penalty,
                "loss": loss,
                "val_loss": val_loss,
                f"val_{metric}": value,
            }
        )
        probes.append(probe)
        # Among equal scores the lower loss is better, as in a stage of steps.
        ranks.append((value, -val_loss))
    # Of equals this is the first one, which has the stronger penalty.
    best = probes[ranks.index(max(ranks))]
    return SolvedHead(best, rows, best.logits(val.features))

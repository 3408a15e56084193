"""What may improve trained weights at nearly no cost. Each is kept if it is better in validation.

BatchNorm is in inference mode throughout, so no statistics are re-estimated for new weights.
"""

import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from job.batches import collect_labels
from job.evaluation import compute_calibrated_loss
from job.features import FrozenNetwork, compute_activations
from job.scores import score
from job.training.head import solve_head
from job.training.loop import StageTrainer
from job.training.progress import Rank
from job.training.session import TrainingSession, assign_arrays, read_arrays
from job.training.stage_features import make_sample

logger = logging.getLogger(__name__)

# Shares of the way from the weights at the start to the trained ones, which are at 1.
ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8)
# What the first of them means.
START = "alpha 0, which is the start: nothing of the training is kept"
# The features of all images are in memory while the head is solved again.
MOST_FEATURE_BYTES = 2**31

Arrays = Sequence[np.ndarray]


def refine(trainer: StageTrainer, session: TrainingSession, start: Arrays) -> None:
    """Leave the best weights in the model, or better ones that can be made of them.

    Args:
        trainer: of a stage that is complete.
        session: its progress receives what was tried.
        start: values of the trained variables before the stage.
    """
    variables = trainer.network.variables
    trainer.work.begin_refinement()
    assign_arrays(variables, trainer.best[0])
    labels = collect_labels(session.feed.splits.val)
    metric = session.context.gate.metric

    def judge() -> Rank:
        """Score and, for equal scores, the loss of the calibrated model, as it is released."""
        _, logits = trainer.judge()
        return score(metric, labels, logits), -compute_calibrated_loss(labels, logits)

    rank = judge()
    logger.info("the best epoch scores %.4f in validation", rank[0])
    refinements: dict[str, Callable[[], Iterator[tuple[str, Arrays]]]] = {
        "mean of the best states": lambda: _average_states(trainer),
        "line to the weights at the start": lambda: _walk_line(trainer, start),
        "head solved again": lambda: _solve_again(trainer, session),
    }
    for name, propose in refinements.items():
        kept = read_arrays(variables)
        tried: list[tuple[Rank, str]] = []
        best = rank
        for detail, arrays in propose():
            assign_arrays(variables, arrays)
            found = judge()
            tried.append((found, detail))
            if found > best:
                best, kept = found, list(arrays)
        assign_arrays(variables, kept)
        if tried:
            found, detail = max(tried)
            row = {
                "name": name,
                "detail": detail,
                "before": rank[0],
                "after": found[0],
                "kept": best > rank,
                "undone": best > rank and detail == START,
            }
            session.progress.refinements.append(row)
            logger.info("tried: %s", name, extra={"fields": row})
        rank = best


def _average_states(trainer: StageTrainer) -> Iterator[tuple[str, Arrays]]:
    """The mean of the best states (model soups, arXiv 2203.05482)."""
    if len(trainer.best) > 1:
        means = [np.mean(values, axis=0) for values in zip(*trainer.best, strict=True)]
        yield f"{len(trainer.best)} epochs", means


def _walk_line(trainer: StageTrainer, start: Arrays) -> Iterator[tuple[str, Arrays]]:
    """Points between the weights at the start and the trained ones (WiSE-FT, arXiv 2109.01903)."""
    trained = read_arrays(trainer.network.variables)
    for alpha in ALPHAS:
        point = []
        for first, last in zip(start, trained, strict=True):
            point.append(first + np.float32(alpha) * (last - first))
        yield f"alpha {alpha:g}" if alpha else START, point


def _solve_again(trainer: StageTrainer, session: TrainingSession) -> Iterator[tuple[str, Arrays]]:
    """The head solved on the features of the trained backbone."""
    classifier, context = session.classifier, session.context
    network = FrozenNetwork(classifier.features, key="")
    splits = session.feed.splits
    size = network.count_bytes(len(splits.train) + len(splits.val))
    # One worker would have to solve it for all.
    if not classifier.solvable or size > MOST_FEATURE_BYTES or context.workers.count > 1:
        return

    examples = [*splits.train, *splits.val]
    batches = compute_activations(network, session.feed, examples, context.telemetry)
    rows = np.concatenate(list(batches))
    train = make_sample(rows[: len(splits.train)], session.feed, splits.train)
    val = make_sample(rows[len(splits.train) :], session.feed, splits.val)
    probe = solve_head(train, val, context.gate.metric).probe
    # The head's own variables are the last ones.
    backbone = read_arrays(trainer.network.variables)[:-2]
    yield f"penalty {probe.penalty:.3g}", [*backbone, probe.kernel, probe.bias]

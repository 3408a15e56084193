"""What a validation chooses for a linear head: its penalty, and a factor for each group."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from job.linear.bench import Bench, set_up_bench
from job.linear.probe import PENALTIES
from job.linear.quick import Head
from job.linear.sample import Group, Sample, divide_columns, spread
from job.linear.trial import Trial, set_folds
from job.scores import log_loss, score

# What the factor of a group is tried at. 0 leaves the group out.
FACTORS = (0.0, 0.5, 1.0, 2.0)
# Of the search over the groups. The second one rarely changes anything.
MOST_SWEEPS = 2
# What a quick search goes through. Heads on 1,000 columns and more often want a stronger penalty
# than those of `solve_path`. Between neighbours the score hardly differs.
COARSE_PENALTIES = (1000.0, 100.0, 10.0, 1.0, 0.1, 0.01)
# A loss that has risen by this factor does not fall again.
RISEN = 1.1


@dataclass(frozen=True, slots=True)
class PenaltyRow:
    """One penalty and what the images that judge say of it. `loss` is in nats."""

    penalty: float
    score: float
    loss: float

    @property
    def rank(self) -> tuple[float, float]:
        """Higher is better: the score, and among equal scores the lower loss."""
        return self.score, -self.loss


@dataclass(frozen=True, slots=True)
class PenaltyChoice:
    """The best penalty, and a row for each, from strong to weak."""

    penalty: float
    rows: tuple[PenaltyRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorChoice:
    """The factors of the groups that the images which judge prefer.

    Attributes:
        values: one factor per group. The last one is 1, or less for a penalty beyond `PENALTIES`.
        penalty: the best one with these factors.
        score, loss: of the head with both, on the images that judge.
        starts: scores of the two heads from which the search began: the last group alone, and all
            groups alike.
    """

    values: tuple[float, ...]
    penalty: float
    score: float
    loss: float
    starts: tuple[float, float]

    def columns(self, groups: Sequence[Group]) -> NDArray[np.float64]:
        """Return the factor of each column, float64 [d], as `solve_path` takes it."""
        return spread(groups, self.values)


def choose_penalty_by_folds(
    sample: Sample, metric: str, factors: NDArray[np.float64] | None = None
) -> PenaltyChoice:
    """Choose a penalty by folds over a sample, where validation images are few."""
    return choose_penalty(set_folds(sample), metric, factors)


def choose_penalty(
    trial: Trial, metric: str, factors: NDArray[np.float64] | None = None
) -> PenaltyChoice:
    """Choose the penalty with the best score, and among equal scores the lowest loss.

    Args:
        trial: what is learnt from and what judges.
        metric: a key of `METRICS`.
        factors: float [d], as in `solve_path`.
    """
    groups, values = divide_columns(trial.sample.features.shape[1], factors)
    bench = set_up_bench(trial, groups)
    rows = [row for row, _ in follow_path(bench, metric, values, PENALTIES)]
    # Of equals this is the first one, which has the stronger penalty.
    best = max(rows, key=lambda row: row.rank)
    return PenaltyChoice(penalty=best.penalty, rows=tuple(rows))


def out_of_fold(
    sample: Sample, penalty: float, factors: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """Return logits float32 [n, classes] of heads that have not learnt from the image.

    Args:
        sample: the images, in the order of the result.
        penalty: as in `PENALTIES`.
        factors: float [d], as in `solve_path`.
    """
    trial = set_folds(sample)
    groups, values = divide_columns(sample.features.shape[1], factors)
    judged, _ = set_up_bench(trial, groups).judge(penalty, values)
    logits = np.zeros((sample.images, sample.classes), np.float32)
    logits[trial.judged] = judged
    return logits


def choose_factors(trial: Trial, groups: Sequence[Group], metric: str) -> FactorChoice:
    """Choose one factor for each group of features, which is a penalty of its own for each.

    The search starts from the better of two heads: the last group alone, and all groups alike. It
    tries each group at each of `FACTORS`, from the last but one to the first, and keeps what the
    images that judge prefer. So the result is never worse on them than either start.

    Args:
        trial: what is learnt from and what judges.
        groups: the last one is what a plain head sees. Its factor stays 1, because the penalty
            scales all of them.
        metric: a key of `METRICS`.
    """
    bench = set_up_bench(trial, groups, rough=True)
    others = len(groups) - 1
    starts = []
    for values in ((0.0,) * others + (1.0,), (1.0,) * len(groups)):
        start, _ = find_best(bench, metric, values)
        starts.append((start, values))
    # Of equals the first one, which needs one group only.
    best, values = max(starts, key=lambda start: start[0].rank)

    for _ in range(MOST_SWEEPS):
        before = values
        for group in reversed(range(others)):
            for factor in FACTORS:
                changed = (*values[:group], factor, *values[group + 1 :])
                if changed == values:
                    continue
                ((row, _),) = follow_path(bench, metric, changed, (best.penalty,))
                if row.rank > best.rank:
                    best, values = row, changed
        # More features bear a stronger penalty, fewer a weaker one.
        nearby = (best.penalty * 10**0.5, best.penalty / 10**0.5)
        rows = [row for row, _ in follow_path(bench, metric, values, nearby)]
        best = max(best, *rows, key=lambda row: row.rank)
        if values == before:
            break
    # A penalty beyond those of `solve_path` is the same as its strongest with smaller factors.
    penalty = min(best.penalty, PENALTIES[0])
    shrink = float(np.sqrt(penalty / best.penalty))
    return FactorChoice(
        values=tuple(value * shrink for value in values),
        penalty=penalty,
        score=best.score,
        loss=best.loss,
        starts=(starts[0][0].score, starts[1][0].score),
    )


def find_best(
    bench: Bench, metric: str, values: Sequence[float]
) -> tuple[PenaltyRow, NDArray[np.float32]]:
    """Find the best of `COARSE_PENALTIES`, and return its row and logits [judged, classes].

    It stops where the loss rises: weaker penalties only cost more time.
    """
    found = []
    least = np.inf
    for row, logits in follow_path(bench, metric, values, COARSE_PENALTIES):
        found.append((row, logits))
        least = min(least, row.loss)
        if row.loss > RISEN * least:
            break
    return max(found, key=lambda pair: pair[0].rank)


def follow_path(
    bench: Bench, metric: str, values: Sequence[float], penalties: Sequence[float]
) -> Iterator[tuple[PenaltyRow, NDArray[np.float32]]]:
    """Judge the heads along a path of penalties: rows and logits [judged, classes].

    Each solution is the start of the next.
    """
    heads: tuple[Head, ...] = ()
    for penalty in penalties:
        logits, heads = bench.judge(penalty, values, starts=heads)
        value = score(metric, bench.labels, logits)
        yield PenaltyRow(penalty, value, log_loss(bench.labels, logits)), logits

"""Rules that choose one of several fitted choices by the validation images alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from scipy.stats import rankdata

from job.evaluation import compute_calibrated_loss
from job.scores import Labels, log_loss, score
from job.selection import Judged, choose_metric, choose_winner, compute_paired_error
from tools.suite.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Decision:
    """The name of what was chosen, and the work until that was known, in runs of `all`."""

    choice: str
    work: float


# From a task and the outcomes of a draw to what is chosen.
Decide = Callable[[str, Mapping[str, Outcome]], Decision]
# From the fitted choices and the labels of the validation images to the name of one choice.
Rule = Callable[[Sequence[Judged], Labels], str]


def decide_on_all(rule: Rule) -> Decide:
    """Apply a rule to all choices, each of which has to be fitted to its end."""

    def decide(_: str, row: Mapping[str, Outcome]) -> Decision:
        judged = [Judged(choice, outcome.work, outcome.val) for choice, outcome in row.items()]
        labels = next(iter(row.values())).val_labels
        work = sum(outcome.work / outcome.plain_work for outcome in row.values())
        return Decision(rule(judged, labels), work)

    return decide


def choose_as_the_race(judged: Sequence[Judged], labels: Labels) -> str:
    """Choose as a race does that has trained all of its candidates to the end."""
    return choose_winner(judged, labels, choose_metric("accuracy", labels)).name


def choose_within(
    judged: Sequence[Judged], labels: Labels, errors: float = 1.0, most: float = 1.0
) -> str:
    """Choose the best score, or the cheapest that is as good.

    Args:
        judged: at least one.
        labels: of the validation images, int [n].
        errors: by how many standard errors of the paired difference it may be worse.
        most: by how much of the score it may be worse at most.
    """
    metric = choose_metric("accuracy", labels)
    best = _find_best(judged, labels)
    best_score = score(metric, labels, best.logits)
    for one in sorted(judged, key=lambda one: one.work):
        behind = best_score - score(metric, labels, one.logits)
        error = compute_paired_error(one.logits, best.logits, labels, metric)
        if one.work < best.work and behind <= min(errors * error, most):
            return one.name
    return best.name


def choose_by_score(judged: Sequence[Judged], labels: Labels) -> str:
    """Choose the best validation score, and of equal ones the lower loss, whatever it costs."""
    return _find_best(judged, labels).name


def choose_by_loss(judged: Sequence[Judged], labels: Labels) -> str:
    """Choose the lowest validation loss."""
    return min(judged, key=lambda one: log_loss(labels, one.logits)).name


def choose_by_calibrated_loss(judged: Sequence[Judged], labels: Labels) -> str:
    """Choose the lowest validation loss after each choice has got its own temperature."""
    return min(judged, key=lambda one: compute_calibrated_loss(labels, one.logits)).name


def choose_by_ranks(judged: Sequence[Judged], labels: Labels) -> str:
    """Choose the best mean of two ranks, by score and by loss; of equal ones the cheaper."""
    metric = choose_metric("accuracy", labels)
    scores = rankdata([-score(metric, labels, one.logits) for one in judged])
    losses = rankdata([log_loss(labels, one.logits) for one in judged])
    order = [
        (by_score + by_loss, one.work, one.name)
        for by_score, by_loss, one in zip(scores, losses, judged, strict=True)
    ]
    return min(order)[2]


def _find_best(judged: Sequence[Judged], labels: Labels) -> Judged:
    metric = choose_metric("accuracy", labels)
    return max(
        judged,
        key=lambda one: (score(metric, labels, one.logits), -log_loss(labels, one.logits)),
    )


RACE = "the rule of the race on all choices"
RULES: Mapping[str, Rule] = {
    RACE: choose_as_the_race,
    "one standard error, at most 1 point": partial(choose_within, most=0.01),
    "one standard error, at most 2 points": partial(choose_within, most=0.02),
    "one standard error": choose_within,
    "half a standard error, at most 1 point": partial(choose_within, errors=0.5, most=0.01),
    "best score": choose_by_score,
    "lowest loss": choose_by_loss,
    "lowest loss after calibration": choose_by_calibrated_loss,
    "mean of the ranks": choose_by_ranks,
}

"""How much the choice by a rule loses to the best fixed choice."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tools.suite.outcomes import Outcome, Table
from tools.suite.rules import Decide

RESAMPLES = 4000
BOUND = 95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean difference of test scores, with the ends of one-sided 95 % intervals."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRegret:
    """What a rule does on one task.

    Attributes:
        task: its name.
        seeds: the draws.
        test_images: of each draw.
        scores: mean test accuracy of each fixed choice.
        auto: that of what the rule chose.
        chosen: by the rule, for each seed.
        fixed: for each seed the choice that is best on the other seeds.
        regret: the score of `fixed` minus that of `chosen`.
        gains: by fixed choice, the score of `chosen` minus its own.
        work: of each choice, as a share of one plain run of `all`.
        auto_work: of what the rule chose.
        spent: the work until that was known.
    """

    task: str
    seeds: list[int]
    test_images: int
    scores: dict[str, float]
    auto: float
    chosen: list[str]
    fixed: list[str]
    regret: Estimate
    gains: dict[str, Estimate]
    work: dict[str, float]
    auto_work: float
    spent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Regret:
    """What a rule does on all tasks. The means count each task once."""

    rule: str
    tasks: list[TaskRegret]
    regret: Estimate
    auto: float
    scores: dict[str, float]
    gains: dict[str, Estimate]


def measure_regret(table: Table, name: str, decide: Decide, resamples: int = RESAMPLES) -> Regret:
    """Apply a rule to the table.

    Args:
        table: each draw has the same choices.
        name: of the rule.
        decide: chooses by the validation images of a draw.
        resamples: of the bootstrap, over the seeds of a task and the test images of each.

    Raises:
        ValueError: the outcomes of a draw are not of the same images.
    """
    tasks = []
    regrets = []
    gains: dict[str, list[np.ndarray]] = {}
    for task, draws in table.items():
        found, regret_samples, gain_samples = _measure_task(task, draws, decide, resamples)
        tasks.append(found)
        regrets.append(regret_samples)
        for choice, samples in gain_samples.items():
            gains.setdefault(choice, []).append(samples)
    choices = list(gains)
    scores = {}
    mean_gains = {}
    for choice in choices:
        scores[choice] = float(np.mean([each.scores[choice] for each in tasks]))
        mean_gains[choice] = _summarize_samples(
            float(np.mean([each.gains[choice].mean for each in tasks])),
            np.mean(gains[choice], axis=0),
        )
    return Regret(
        rule=name,
        tasks=tasks,
        regret=_summarize_samples(
            float(np.mean([each.regret.mean for each in tasks])), np.mean(regrets, axis=0)
        ),
        auto=float(np.mean([each.auto for each in tasks])),
        scores=scores,
        gains=mean_gains,
    )


def pick_fixed(hits: dict[int, dict[str, np.ndarray]], seed: int) -> str:
    """Return the choice with the best mean test accuracy on the other seeds.

    With one seed alone it is the best choice on this seed, which no rule can beat.
    """
    others = [each for each in hits if each != seed] or [seed]
    choices = list(hits[seed])
    return max(choices, key=lambda choice: np.mean([hits[each][choice].mean() for each in others]))


def bootstrap_means(differences: Sequence[np.ndarray], resamples: int) -> np.ndarray:
    """Resample seeds, and the images of each: float64 [resamples], of the mean over seeds.

    Pictures of one photograph are taken for independent, so with few seeds this is too sure.

    Args:
        differences: for each seed, -1, 0 or 1 for each test image.
        resamples: how many.
    """
    draw = np.random.default_rng(0)
    seeds = len(differences)
    drawn = draw.integers(seeds, size=(resamples, seeds))
    means = np.empty(drawn.shape)
    for seed, values in enumerate(differences):
        shares = np.array([(values == sign).mean() for sign in (-1, 0, 1)])
        places = drawn == seed
        # Drawing images with replacement is drawing how many of each kind there are.
        counts = draw.multinomial(len(values), shares, size=places.sum())
        means[places] = (counts[:, 2] - counts[:, 0]) / len(values)
    return means.mean(axis=1)


def _measure_task(
    task: str, draws: dict[int, dict[str, Outcome]], decide: Decide, resamples: int
) -> tuple[TaskRegret, np.ndarray, dict[str, np.ndarray]]:
    """(the regret, its bootstrap samples, those of the gain over each fixed choice)."""
    hits = {seed: _find_hits(task, seed, row) for seed, row in draws.items()}
    decisions = {seed: decide(task, row) for seed, row in draws.items()}
    chosen = {seed: decision.choice for seed, decision in decisions.items()}
    fixed = {seed: pick_fixed(hits, seed) for seed in draws}

    def differ(one: dict[int, str], other: dict[int, str]) -> list[np.ndarray]:
        return [
            hits[seed][one[seed]].astype(int) - hits[seed][other[seed]].astype(int)
            for seed in draws
        ]

    def average(names: dict[int, str]) -> float:
        return float(np.mean([hits[seed][names[seed]].mean() for seed in draws]))

    def share_work(names: dict[int, str]) -> float:
        shares = [
            row[names[seed]].work / row[names[seed]].plain_work for seed, row in draws.items()
        ]
        return float(np.mean(shares))

    choices = list(next(iter(draws.values())))
    always = {choice: dict.fromkeys(draws, choice) for choice in choices}
    samples = bootstrap_means(differ(fixed, chosen), resamples)
    auto = average(chosen)
    scores = {choice: average(names) for choice, names in always.items()}
    gain_samples = {
        choice: bootstrap_means(differ(chosen, names), resamples)
        for choice, names in always.items()
    }
    gains = {}
    for choice in choices:
        gains[choice] = _summarize_samples(auto - scores[choice], gain_samples[choice])
    found = TaskRegret(
        task=task,
        seeds=list(draws),
        test_images=len(next(iter(hits.values()))[choices[0]]),
        scores=scores,
        auto=auto,
        chosen=list(chosen.values()),
        fixed=list(fixed.values()),
        regret=_summarize_samples(average(fixed) - auto, samples),
        gains=gains,
        work={choice: share_work(names) for choice, names in always.items()},
        auto_work=share_work(chosen),
        spent=float(np.mean([decision.work for decision in decisions.values()])),
    )
    return found, samples, gain_samples


def _find_hits(task: str, seed: int, row: dict[str, Outcome]) -> dict[str, np.ndarray]:
    """Which test images each choice gets right: bool [m]."""
    hits = {}
    first = next(iter(row.values()))
    for choice, outcome in row.items():
        same = np.array_equal(first.test_labels, outcome.test_labels)
        if not same or not np.array_equal(first.val_labels, outcome.val_labels):
            raise ValueError(
                f"{task}, seed {seed}: the outcome of {choice} is of other images than the first; "
                "expected one draw. Remove the folder of this draw and fit it again."
            )
        hits[choice] = outcome.test.argmax(axis=1) == outcome.test_labels
    return hits


def _summarize_samples(mean: float, samples: np.ndarray) -> Estimate:
    low, high = np.percentile(samples, [100 - BOUND, BOUND])
    return Estimate(mean, float(low), float(high))

"""The race of the product, replayed on outcomes: what it chooses, and the work that it spends.

Two things differ from a race. An outcome is of half the epochs, and the profile adds no third
boundary.
"""

import json
from collections.abc import Mapping

from job.scores import score
from job.selection import (
    Candidate,
    Judged,
    choose_metric,
    choose_winner,
    is_out_of_reach,
    is_worth_a_race,
    list_rung,
    order_by_steps,
    plan_race,
)
from job.settings import TransferSettings
from job.training import Rank
from tools.suite.choices import CHOICES
from tools.suite.outcomes import Outcome, count_work
from tools.suite.rules import Decision
from tools.suite.tasks import TASKS


def replay_race(task: str, row: Mapping[str, Outcome]) -> Decision:
    """Choose as `GRAFT_TRANSFER_MODE=auto` does.

    Args:
        task: its name. Where it is not one of `TASKS`, its data count as unlike ImageNet.
        row: the outcomes of a draw, those of mode `none` among them.
    """
    first = next(iter(row.values()))
    labels = first.val_labels
    kind = TASKS[task].kind if task in TASKS else "unlike"
    candidates = _list_candidates(row)
    solved = []
    for candidate in candidates:
        if candidate.mode == "none":
            solved.append(Judged(candidate.name, candidate.work, row[candidate.name].val))
    budget = TransferSettings().budget if is_worth_a_race(kind, len(labels)) else 0.0
    # The histories know the accuracy alone.
    leader = max(score("accuracy", labels, one.logits) for one in solved)
    names: list[str] = []
    ranks: dict[str, Rank] = {}
    epochs: dict[str, int] = {}
    for rung in plan_race(candidates, first.of_epochs, budget, first.train):
        if names and is_out_of_reach(max(ranks.values())[0], leader, len(labels)):
            names = []
            break
        order = [candidate.name for candidate in order_by_steps(candidates)]
        names = list_rung(rung.candidates, names, order, ranks)
        for name in names:
            epochs[name] = min(rung.until, row[name].epochs)
        ranks = {name: _find_best(row[name], epochs[name]) for name in names}
    works = {candidate.name: candidate.work for candidate in candidates}
    finalists = [Judged(name, works[name], row[name].val) for name in names]
    winner = choose_winner([*solved, *finalists], labels, choose_metric("accuracy", labels))
    spent = solved[0].work
    for name, count in epochs.items():
        spent += works[name] * count / first.of_epochs
    return Decision(winner.name, spent)


def _list_candidates(row: Mapping[str, Outcome]) -> list[Candidate]:
    """The candidates of a race, with the work of all their epochs as a share of `all`."""
    candidates = []
    for name, outcome in row.items():
        images = (outcome.train, len(outcome.val_labels))
        solved = count_work(outcome.layers, 0, images, 0)
        most = outcome.plain_work - solved
        work = solved
        if outcome.epochs:
            work = (outcome.work - solved) / outcome.epochs * outcome.of_epochs
        choice = CHOICES[name]
        mode = choice.transfer.mode
        assert mode != "auto"  # every choice of the suite is a fixed one
        candidates.append(
            Candidate(
                name=name,
                mode=mode,
                pooling=choice.head.pooling,
                cut=None,
                work=work / most,
            )
        )
    return candidates


def _find_best(outcome: Outcome, epochs: int) -> Rank:
    """The best of the first epochs, before any refinement."""
    ranks = []
    for row in json.loads(outcome.history):
        if row["stage"] == "tune":
            ranks.append((row["val_accuracy"], -row["val_loss"]))
    return max(ranks[:epochs])

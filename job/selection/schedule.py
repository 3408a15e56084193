"""Successive halving inside a budget: in each rung the better half of the candidates goes on.

Before that, one candidate alone shows whether retraining may help at all. It is the pilot.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from job.selection.candidates import Candidate
from job.training import Rank

# The pilot ends with the epoch in which it has seen so many training images, counted anew in each
# epoch. Fewer steps say little, and more of them cost more than a solved head does.
PILOT_IMAGES = 1000
# It takes at most this share of the epochs: an epoch of few images is short.
MOST_OF_PILOT = 0.2


@dataclass(frozen=True, slots=True)
class Rung:
    """A part of a race.

    Attributes:
        candidates: how many take part.
        until: the epoch, counted from the beginning, that each of them is trained to.
    """

    candidates: int
    until: int


def plan_race(
    candidates: Sequence[Candidate], epochs: int, budget: float, images: int
) -> tuple[Rung, ...]:
    """Plan the rungs of the candidates that are trained by steps. The first one is the pilot.

    Args:
        candidates: as `list_candidates` gives them.
        epochs: of a full training.
        budget: the `transfer` group's, which pays for the solved heads too.
        images: how many there are to train.
    """
    solved = candidates[0].work
    trained = order_by_steps(candidates)
    works = [candidate.work - candidate.start for candidate in trained]
    starts = [candidate.start for candidate in trained]
    until = max(min(-(-PILOT_IMAGES // images), round(MOST_OF_PILOT * epochs)), 1)
    # It goes on from there in the next rung, so it adds nothing to what the race costs.
    pilot = Rung(1, until)
    rungs = plan_rungs(works, epochs, budget - solved, until, starts)
    if not rungs or rungs[0] == pilot:
        return rungs
    return (pilot, *rungs)


def list_rung(
    count: int, previous: Sequence[str], order: Sequence[str], ranks: Mapping[str, Rank]
) -> list[str]:
    """List the names of the candidates of a rung.

    Args:
        count: how many take part.
        previous: the names of the rung before. Empty for the first one.
        order: all names, as `order_by_steps` has them.
        ranks: the best rank so far of each candidate of the rung before.
    """
    if len(previous) < count:
        # After the pilot the others join it.
        return list(order[:count])
    return sorted(previous, key=lambda name: ranks[name], reverse=True)[:count]


def order_by_steps(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that are trained by steps, in the order in which the budget takes them.

    `all` comes first, then those that free most. What little retraining brings is near to what the
    solved heads reach.
    """
    tuned = [candidate for candidate in candidates if candidate.mode != "none"]
    return tuned[::-1]


def plan_rungs(
    works: Sequence[float],
    epochs: int,
    budget: float,
    least: int = 1,
    starts: Sequence[float] = (),
) -> tuple[Rung, ...]:
    """Plan the rungs of a race.

    The plan assumes that the most expensive candidates survive, so the budget holds whoever wins.

    Args:
        works: of all epochs of each candidate, in the order in which they may take part. The last
            ones are left out where the budget is too small for all.
        epochs: of a full training.
        budget: what all of them together may cost, in the unit of `works`.
        least: epochs of the first rung. A shorter one says little of a candidate, so that fewer of
            them take part instead.
        starts: what each candidate costs before its first step, besides its work.

    Returns:
        the rungs, of which the last one ends after `epochs`. None where the budget does not reach
        for the full training of one candidate.
    """
    for count in range(len(works), 0, -1):
        taking_part = sorted(works[:count], reverse=True)
        left = budget - sum(starts[:count])
        if sum(taking_part) <= left:
            return (Rung(count, epochs),)
        sizes = _halve_down(count)
        # The longest first rungs that fit: the longer they are, the surer is the choice.
        for length in range(epochs // len(sizes), least - 1, -1):
            ends = [length * number for number in range(1, len(sizes))]
            rungs = [Rung(size, end) for size, end in zip(sizes, [*ends, epochs], strict=True)]
            if _bound_cost(rungs, taking_part, epochs) <= left:
                return tuple(rungs)
    return ()


def _halve_down(count: int) -> list[int]:
    sizes = [count]
    while sizes[-1] > 1:
        sizes.append((sizes[-1] + 1) // 2)
    return sizes


def _bound_cost(rungs: Sequence[Rung], works: Sequence[float], epochs: int) -> float:
    """The most that the rungs may cost. `works` begins with the most expensive candidate."""
    cost = 0.0
    begin = 0
    for rung in rungs:
        share = (rung.until - begin) / epochs
        cost += share * sum(works[: rung.candidates])
        begin = rung.until
    return cost

"""The race of the candidates as a plan: halving, inside the budget, whoever survives."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job.selection import Rung, plan_rungs


def count_cost(rungs: tuple[Rung, ...], works: tuple[float, ...], epochs: int) -> float:
    """What a race costs in which the given works survive in their order."""
    cost, begin = 0.0, 0
    for rung in rungs:
        cost += (rung.until - begin) / epochs * sum(works[: rung.candidates])
        begin = rung.until
    return cost


def test_each_rung_halves_the_candidates_and_the_last_one_trains_to_the_end() -> None:
    assert plan_rungs([1.0, 0.4, 0.6], epochs=20, budget=1.5) == (
        Rung(3, 6),
        Rung(2, 12),
        Rung(1, 20),
    )


def test_a_budget_for_all_of_them_needs_no_halving() -> None:
    assert plan_rungs([1.0, 0.4, 0.6], epochs=20, budget=2.0) == (Rung(3, 20),)


def test_what_the_budget_does_not_reach_is_left_out_from_the_end() -> None:
    assert plan_rungs([1.0, 0.4, 0.6], epochs=4, budget=1.05) == (Rung(1, 4),)


def test_no_budget_trains_nothing_by_steps() -> None:
    assert plan_rungs([1.0, 0.4], epochs=20, budget=0.0) == ()
    assert plan_rungs([1.0, 0.4], epochs=20, budget=0.9) == ()
    assert plan_rungs([], epochs=20, budget=1.5) == ()


@given(
    works=st.lists(st.floats(0.05, 1.0), min_size=1, max_size=4),
    epochs=st.integers(1, 40),
    budget=st.floats(0.0, 4.0),
)
def test_no_race_costs_more_than_its_budget_whoever_survives(
    works: list[float], epochs: int, budget: float
) -> None:
    rungs = plan_rungs(works, epochs, budget)
    if not rungs:
        assert works[0] > budget
        return
    assert rungs[-1].until == epochs
    assert [rung.until for rung in rungs] == sorted({rung.until for rung in rungs})
    for order in itertools.permutations(works[: rungs[0].candidates]):
        assert count_cost(rungs, order, epochs) <= budget * (1 + 1e-9)


@pytest.mark.parametrize("budget", [1.0, 1.25, 1.5, 2.0])
def test_a_larger_budget_never_shortens_the_first_rung_of_as_many_candidates(
    budget: float,
) -> None:
    small = plan_rungs([1.0, 0.4, 0.6], epochs=20, budget=budget)
    large = plan_rungs([1.0, 0.4, 0.6], epochs=20, budget=budget + 0.25)
    assert large[0].candidates >= small[0].candidates
    if large[0].candidates == small[0].candidates:
        assert large[0].until >= small[0].until

"""The race of the candidates as a plan: halving, inside the budget, whoever survives."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job.selection import Candidate, Rung, list_rung, order_by_steps, plan_race, plan_rungs
from job.settings import TransferMode


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


@given(
    works=st.lists(st.floats(0.05, 1.0), min_size=1, max_size=4),
    start=st.floats(0.0, 0.5),
    epochs=st.integers(1, 40),
    budget=st.floats(0.0, 4.0),
)
def test_what_candidates_cost_before_their_first_step_is_inside_the_budget(
    works: list[float], start: float, epochs: int, budget: float
) -> None:
    rungs = plan_rungs(works, epochs, budget, starts=[start] * len(works))
    if not rungs:
        assert works[0] + start > budget
        return
    # Each of the first rung pays it, whoever survives.
    begun = start * rungs[0].candidates
    for order in itertools.permutations(works[: rungs[0].candidates]):
        assert begun + count_cost(rungs, order, epochs) <= budget * (1 + 1e-9)


@pytest.mark.parametrize("budget", [1.0, 1.25, 1.5, 2.0])
def test_a_larger_budget_never_shortens_the_first_rung_of_as_many_candidates(
    budget: float,
) -> None:
    small = plan_rungs([1.0, 0.4, 0.6], epochs=20, budget=budget)
    large = plan_rungs([1.0, 0.4, 0.6], epochs=20, budget=budget + 0.25)
    assert large[0].candidates >= small[0].candidates
    if large[0].candidates == small[0].candidates:
        assert large[0].until >= small[0].until


def make_candidates(*works: float) -> list[Candidate]:
    """A solved head, candidates that free a part, and `all`."""
    candidates = [Candidate(name="none", mode="none", pooling="avg", cut=None, work=0.05)]
    for number, work in enumerate(works):
        mode: TransferMode = "all" if work == 1.0 else "part"
        candidates.append(
            Candidate(name=str(number), mode=mode, pooling="avg", cut=None, work=work)
        )
    return candidates


@pytest.mark.parametrize(
    ("images", "pilot"), [(100_000, 1), (1000, 1), (999, 2), (400, 3), (250, 4), (10, 4)]
)
def test_one_candidate_is_the_pilot_for_a_thousand_images_or_a_fifth_of_the_epochs(
    images: int, pilot: int
) -> None:
    rungs = plan_race(make_candidates(0.4, 0.6, 1.0), 20, 1.5, images)
    assert rungs[0] == Rung(1, pilot)
    assert rungs[1:] == plan_rungs([1.0, 0.6, 0.4], 20, 1.45, pilot)


@given(
    works=st.lists(st.floats(0.05, 0.95), max_size=3),
    epochs=st.integers(1, 40),
    budget=st.floats(0.0, 4.0),
    images=st.integers(1, 5000),
)
def test_the_pilot_adds_nothing_to_what_a_race_may_cost(
    works: list[float], epochs: int, budget: float, images: int
) -> None:
    rungs = plan_race(make_candidates(*works, 1.0), epochs, budget, images)
    assert bool(rungs) == (budget - 0.05 >= 1.0)
    if rungs and rungs[0].candidates == 1 and rungs[0].until < epochs:
        pilot, *others = rungs
        ordered = [1.0, *reversed(works)]
        assert tuple(others) == plan_rungs(ordered, epochs, budget - 0.05, pilot.until)
        assert 1 <= pilot.until <= others[0].until


def test_fewer_candidates_race_where_the_first_rung_would_end_before_the_pilot() -> None:
    candidates = make_candidates(0.6, 0.89, 1.0)
    assert plan_race(candidates, 10, 1.5, images=600) == (Rung(1, 2), Rung(2, 5), Rung(1, 10))
    assert plan_race(candidates, 10, 1.5, images=1000) == (
        Rung(1, 1),
        Rung(3, 1),
        Rung(2, 2),
        Rung(1, 10),
    )


def test_the_budget_takes_all_first_and_then_what_frees_most() -> None:
    candidates = make_candidates(0.6, 0.89, 1.0)
    assert [candidate.work for candidate in order_by_steps(candidates)] == [1.0, 0.89, 0.6]


def test_the_others_join_the_pilot_and_then_the_better_half_goes_on() -> None:
    order = ["all", "part", "most"]
    ranks = {"all": (0.5, -1.0), "part": (0.7, -2.0), "most": (0.7, -1.0)}
    assert list_rung(1, (), order, {}) == ["all"]
    assert list_rung(3, ["all"], order, ranks) == order
    assert list_rung(2, order, order, ranks) == ["most", "part"]
    assert list_rung(1, ["most", "part"], order, ranks) == ["most"]

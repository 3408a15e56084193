"""Choices by hand, and promotions by runs that were carried out or cut, over S3 and a folder."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from job import publish
from job.errors import TemporaryError
from job.publish import Champion, Decision
from job.publish.promotion import PromotionState
from job.release import Manifest
from job.storage import Store, connect
from tests.publish.test_releasing import bundle, decision_against, fields, racing, run_id_of


class Runs:
    """The runs of one registry, as the pipeline makes them, but for the training."""

    def __init__(self, registry: Store, folder: Path) -> None:
        self.registry = registry
        self._bundle = bundle(folder / "bundle", {"labels.json": b'["cat", "dog"]'})

    def run(self, run_id: str) -> Manifest:
        """A run that wins; the decision is carried out."""
        decision = decision_against(publish.read_champion(self.registry))
        manifest = self._released(run_id, decision)
        publish.promote(self.registry, manifest, decision, decision_against)
        return manifest

    def cut(self, run_id: str) -> Manifest:
        """A run that wins and is killed between manifest and pointer."""
        return self._released(run_id, decision_against(publish.read_champion(self.registry)))

    def lose(self, run_id: str) -> Manifest:
        """A run that does not win."""
        return self._released(
            run_id, decision_against(publish.read_champion(self.registry), promote=False)
        )

    def choose(self, run_id: str) -> None:
        """`graft promote`."""
        publish.promote_manually(f"{self.registry.uri}/releases/{run_id}")

    def night(self, run_id: str) -> PromotionState:
        """A run that finds the release of its settings and data finished."""
        manifest = publish.find(self.registry, run_id)
        assert manifest
        return publish.finish_promotion(self.registry, manifest)

    def of_an_earlier_version(self, run_id: str) -> Manifest:
        """A run that wins, is cut, and does not note the pointer that it was decided against."""
        decision = decision_against(publish.read_champion(self.registry))
        promotion = decision.record()
        del promotion["against"]
        wanted = fields(run_id, promotion=promotion, previous=decision.previous)
        return publish.release(self._bundle, wanted, self.registry).manifest

    def _released(self, run_id: str, decision: Decision) -> Manifest:
        wanted = fields(run_id, promotion=decision.record(), previous=decision.previous)
        return publish.release(self._bundle, wanted, self.registry).manifest

    @property
    def pointer(self) -> dict[str, Any]:
        pointer: dict[str, Any] = json.loads(self.registry.read("promoted.json"))
        return pointer

    @property
    def champion(self) -> str | None:
        champion = publish.read_champion(self.registry)
        return champion.pointer.get("run_id") if champion else None


@pytest.fixture
def runs(store: Store, tmp_path: Path) -> Runs:
    return Runs(store.child("pets"), tmp_path)


# --- a choice by hand stays ---


def test_a_roll_back_by_hand_outlives_the_next_night(runs: Runs) -> None:
    runs.run("a")
    runs.run("b")
    runs.choose("a")
    for _ in range(2):
        standing = runs.night("b")
        assert not standing.promoted
        assert standing.reason == "the champion was chosen by hand: releases/a stays"
        assert (runs.champion, runs.pointer["by"]) == ("a", "manual")


def test_a_roll_back_past_other_promotions_stays_as_well(runs: Runs) -> None:
    for run_id in "abc":
        runs.run(run_id)
    # The last choice leaves the pointer that the first one left, but for what is unique in it.
    for chosen in "aba":
        runs.choose(chosen)
        for run_id in "abc":
            assert runs.night(run_id).promoted is (run_id == chosen)
        assert runs.champion == chosen


def test_the_champion_chosen_by_hand_while_a_promotion_is_cut_stays(runs: Runs) -> None:
    """It is the champion already, and the person says that it shall be."""
    runs.run("a")
    runs.cut("b")
    runs.choose("a")
    assert not runs.night("b").promoted
    assert runs.champion == "a"


def test_the_champion_chosen_by_hand_twice_stays(runs: Runs) -> None:
    runs.run("a")
    runs.choose("a")
    runs.cut("b")
    runs.choose("a")
    assert not runs.night("b").promoted
    assert runs.champion == "a"


def test_choosing_the_champion_by_hand_keeps_the_one_before_it(runs: Runs) -> None:
    runs.run("a")
    runs.run("b")
    before = runs.pointer
    runs.choose("b")
    assert runs.pointer["by"] == "manual"
    assert runs.pointer["previous"] == before["previous"]
    assert runs.pointer["previous"]["run_id"] == "a"


def test_a_first_release_that_was_cut_gives_way_to_a_choice_by_hand(runs: Runs) -> None:
    runs.lose("a")
    runs.cut("b")
    runs.choose("a")
    assert not runs.night("b").promoted
    assert runs.champion == "a"


def test_a_loser_chosen_by_hand_is_the_champion_until_the_roll_back(runs: Runs) -> None:
    runs.run("a")
    runs.lose("b")
    assert runs.night("b").reason == "it is not the champion"
    runs.choose("b")
    assert runs.night("b").promoted
    runs.choose("a")
    assert not runs.night("b").promoted
    assert runs.champion == "a"


def test_a_choice_by_hand_stays_when_its_release_is_damaged_later(runs: Runs) -> None:
    runs.run("a")
    runs.run("b")
    runs.choose("a")
    runs.registry.delete("releases/a/manifest.json")
    assert runs.night("b").reason == "the champion was chosen by hand: releases/a stays"
    assert runs.champion == "a"


def test_a_choice_by_hand_in_the_middle_of_a_finish_stays(runs: Runs) -> None:
    runs.run("a")
    manifest = runs.cut("b")
    late = racing(runs.registry, "write_if", lambda: runs.choose("a"))
    assert (
        publish.finish_promotion(late, manifest).reason
        == "the champion was chosen by hand: releases/a stays"
    )
    assert runs.champion == "a"


def test_a_finish_that_loses_against_another_run_says_so(runs: Runs) -> None:
    runs.run("a")
    manifest = runs.cut("b")
    late = racing(runs.registry, "write_if", lambda: runs.run("c"))
    assert publish.finish_promotion(late, manifest) == PromotionState(
        promoted=False, reason="it is not the champion"
    )
    assert runs.champion == "c"


def test_a_finish_in_the_middle_of_a_choice_by_hand_gives_way(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.run("a")
    runs.cut("b")
    late = racing(runs.registry, "write_if", lambda: runs.night("b"))
    monkeypatch.setattr("job.publish.promotion.connect", lambda _: late)
    runs.choose("a")
    assert (runs.champion, runs.pointer["previous"]["run_id"]) == ("a", "b")
    assert not runs.night("b").promoted


def test_a_choice_by_hand_that_always_comes_late_gives_up_for_now(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.lose("a")
    others = itertools.count()
    late = racing(runs.registry, "write_if", lambda: runs.run(f"other-{next(others)}"), always=True)
    monkeypatch.setattr("job.publish.promotion.connect", lambda _: late)
    with pytest.raises(TemporaryError, match="changed 5 times"):
        runs.choose("a")


def test_a_choice_by_hand_whose_answer_was_lost_is_written_once(
    bucket: str, faulty: Any, tmp_path: Path
) -> None:
    runs = Runs(connect(f"{bucket}/pets"), tmp_path)
    runs.run("a")
    runs.run("b")
    faulty.fail("PUT", times=1, lose_answer=True)
    runs.choose("a")
    assert (runs.champion, runs.pointer["previous"]["run_id"]) == ("a", "b")


# --- what was cut is finished ---


def test_a_promotion_that_was_cut_is_finished(runs: Runs) -> None:
    runs.run("a")
    runs.cut("b")
    assert runs.night("b") == PromotionState(promoted=True)
    assert (runs.champion, runs.pointer["by"]) == ("b", "comparison")


def test_a_promotion_that_was_cut_ends_with_the_pointer_of_one_that_was_not(
    store: Store, tmp_path: Path
) -> None:
    pointers = []
    for name in ("cut", "undisturbed"):
        runs = Runs(store.child(name), tmp_path / name)
        runs.run("a")
        (runs.cut if name == "cut" else runs.run)("b")
        runs.night("b")
        pointers.append(runs.registry.read("promoted.json"))
    assert pointers[0] == pointers[1]


def test_a_cut_promotion_is_finished_over_a_champion_chosen_by_hand_before_it(
    runs: Runs,
) -> None:
    runs.run("old")
    runs.run("a")
    runs.choose("old")
    runs.choose("a")
    runs.cut("b")
    assert runs.night("b").promoted
    assert runs.champion == "b"


def test_a_promotion_that_was_cut_is_finished_over_a_damaged_champion(runs: Runs) -> None:
    runs.run("a")
    runs.registry.delete("releases/a/manifest.json")
    runs.cut("b")
    assert runs.night("b").promoted
    assert runs.champion == "b"


def test_a_promotion_that_was_cut_is_finished_over_a_damaged_pointer(runs: Runs) -> None:
    runs.registry.write("promoted.json", b"{")
    runs.cut("a")
    assert runs.night("a").promoted
    assert runs.champion == "a"


@pytest.mark.parametrize("damage", ["deleted", "not valid"])
def test_without_a_valid_pointer_only_a_winner_against_no_champion_is_promoted(
    runs: Runs, damage: str
) -> None:
    runs.run("a")
    runs.run("b")
    if damage == "deleted":
        runs.registry.delete("promoted.json")
    else:
        runs.registry.write("promoted.json", b"{")
    assert not runs.night("b").promoted
    assert runs.champion is None
    assert runs.night("a").promoted
    assert runs.champion == "a"


def test_a_later_run_may_win_against_a_champion_chosen_by_hand(runs: Runs) -> None:
    runs.run("a")
    runs.run("b")
    runs.choose("a")
    runs.run("c")
    assert (runs.champion, runs.pointer["previous"]["run_id"]) == ("c", "a")
    runs.night("b")
    assert runs.champion == "c"


def test_a_run_compares_again_with_a_champion_chosen_by_hand_before_it_writes(
    runs: Runs,
) -> None:
    runs.run("a")
    decision = decision_against(publish.read_champion(runs.registry))
    manifest = runs.cut("b")
    runs.choose("a")
    asked = []

    def loses(champion: Champion | None) -> Decision:
        asked.append(run_id_of(champion.manifest) if champion else None)
        return decision_against(champion, promote=False)

    assert not publish.promote(runs.registry, manifest, decision, loses).promote
    assert asked == ["a"]
    assert not runs.night("b").promoted
    assert runs.champion == "a"


@pytest.mark.parametrize("then", ["choose a", "run c"])
def test_what_replaced_a_release_that_another_worker_promoted_stays(runs: Runs, then: str) -> None:
    """Seeds 0, 10 and 11 of the scene `rivals`: the chief, which was late, undid the choice."""
    runs.run("a")
    decision = decision_against(publish.read_champion(runs.registry))
    manifest = runs.cut("b")
    assert runs.night("b").promoted
    event, run_id = then.split()
    getattr(runs, event)(run_id)
    late = publish.promote(runs.registry, manifest, decision, decision_against)
    assert not late.promote
    assert late.reason == "It was promoted meanwhile, and the champion after it stays."
    assert runs.champion == run_id


# --- releases and pointers of an earlier version ---


def test_an_earlier_versions_cut_promotion_is_finished_over_a_champion_of_a_run(runs: Runs) -> None:
    runs.run("a")
    runs.of_an_earlier_version("b")
    assert runs.night("b").promoted
    assert runs.champion == "b"


@pytest.mark.parametrize("before", [True, False])
def test_an_earlier_versions_promotion_is_never_finished_over_a_choice_by_hand(
    runs: Runs, before: bool
) -> None:
    """Nothing tells which of the two came first."""
    runs.run("a")
    if before:
        runs.choose("a")
    runs.of_an_earlier_version("b")
    if not before:
        runs.choose("a")
    assert runs.night("b").reason == "the champion was chosen by hand: releases/a stays"
    assert runs.champion == "a"


def test_a_choice_by_hand_of_an_earlier_version_outlives_the_next_night(runs: Runs) -> None:
    runs.run("a")
    runs.run("b")
    runs.choose("a")
    earlier = {name: content for name, content in runs.pointer.items() if name != "choice"}
    runs.registry.write("promoted.json", json.dumps(earlier).encode())
    assert not runs.night("b").promoted
    assert runs.champion == "a"


def test_a_cut_promotion_is_finished_over_an_earlier_versions_choice_before_it(
    runs: Runs,
) -> None:
    runs.run("a")
    runs.choose("a")
    earlier = {name: content for name, content in runs.pointer.items() if name != "choice"}
    runs.registry.write("promoted.json", json.dumps(earlier).encode())
    runs.cut("b")
    assert runs.night("b").promoted


# --- every order ---

OTHERS = ("choose a", "choose a", "choose b", "run c", "night b")


@dataclass
class Expected:
    """What shall come of it, in three sentences.

    A run that wins, and a choice by hand, make their release the champion. An unchanged run makes
    its release the champion if its promotion was cut and nobody has written the pointer since it
    was decided. Nothing else does.
    """

    champion: str | None = None
    writes: int = 0
    cut_at: dict[str, int] = field(default_factory=dict)

    def after(self, event: str, run_id: str) -> None:
        if event == "cut":
            self.cut_at[run_id] = self.writes
        elif event in ("run", "choose") or (
            event == "night" and self.cut_at.get(run_id) == self.writes
        ):
            self.champion = run_id
            self.writes += 1


def orders(most_others: int) -> Iterator[tuple[str, ...]]:
    """The run of b in each of three ways and up to so many other events, in every real order."""
    chosen = set()
    for count in range(most_others + 1):
        for others in itertools.permutations(OTHERS, count):
            for place in range(count + 1):
                for way in ("run b", "cut b", "lose b"):
                    chosen.add((*others[:place], way, *others[place:]))
    for order in sorted(chosen):
        released = {"a"}
        possible = True
        for event, run_id in map(str.split, order):
            possible = possible and (run_id in released or event not in ("choose", "night"))
            released.add(run_id)
        if possible:
            yield order


@pytest.mark.runs
def test_in_every_order_the_last_choice_or_promotion_counts(store: Store, tmp_path: Path) -> None:
    # The S3 server of the tests is slow.
    most_others = 1 if store.uri.startswith("s3:") else 3
    seen = set()
    for number, order in enumerate(orders(most_others)):
        runs, expected = Runs(store.child(str(number)), tmp_path / str(number)), Expected()
        for step in ("run a", *order, "night b", "night a", "night b"):
            event, run_id = step.split()
            getattr(runs, event)(run_id)
            expected.after(event, run_id)
            assert runs.champion == expected.champion, f"after {step!r} of {order}"
        seen.add(expected.champion)
    assert seen == {"a", "b", "c"}

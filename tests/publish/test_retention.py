"""Old releases: which are kept, how the others go, and the way back. Over S3 and in a folder."""

import os
import time
from pathlib import Path

import pytest

from job import publish, settings
from job.__main__ import main
from job.errors import ReleaseError, ReleaseNotFound, TemporaryError
from job.pipeline import released
from job.storage import Store
from tests.publish.test_choice_by_hand import Runs
from tests.publish.test_releasing import decision_against, racing


@pytest.fixture
def runs(store: Store, tmp_path: Path) -> Runs:
    return Runs(store.child("pets"), tmp_path)


def kept(retentions: list[publish.Retention]) -> dict[str, str]:
    """Why each release is kept; those that are deleted are left out."""
    return {each.manifest.run_id: each.kept for each in retentions if each.kept}


def in_order(registry: Store, *run_ids: str) -> None:
    """Make the manifests so old that their order is that of `run_ids`, oldest first."""
    if not registry.uri.startswith("file:"):
        return
    folder = Path(registry.uri.removeprefix("file://"))
    for age, run_id in enumerate(reversed(run_ids)):
        at = time.time() - 10 * age
        os.utime(folder / "releases" / run_id / "manifest.json", (at, at))


def test_the_newest_stay_and_the_champion_and_what_was_decided_against(runs: Runs) -> None:
    """Names fall, since of equal times S3 gives the smallest key as the newest."""
    runs.lose("f")
    runs.run("e")
    runs.lose("d")
    runs.run("c")
    runs.lose("b")
    runs.lose("a")
    in_order(runs.registry, *"fedcba")
    plan = publish.plan_retention(runs.registry, 1)
    assert kept(plan) == {"a": "new", "c": "champion", "e": "the champion before"}
    # A plan deletes nothing.
    assert publish.find(runs.registry, "f")

    assert kept(publish.prune(runs.registry, 1)) == kept(plan)
    left = {manifest.run_id for manifest in publish.read_history(runs.registry)}
    assert left == {"a", "c", "e"}
    for run_id in left:
        publish.verify(f"{runs.registry.uri}/releases/{run_id}")
    # Again, there is nothing to do.
    assert kept(publish.prune(runs.registry, 1)) == kept(plan)


def test_the_release_that_a_kept_decision_was_made_against_stays(runs: Runs) -> None:
    runs.run("d")
    runs.lose("c")
    runs.run("b")
    runs.choose("d")
    runs.lose("a")
    in_order(runs.registry, *"dcba")
    # `b` is the champion before. `c` was compared with `d`, but nobody names `c`.
    assert kept(publish.prune(runs.registry, 1)) == {
        "a": "new",
        "b": "the champion before",
        "d": "champion",
    }


def test_a_promotion_that_was_cut_and_a_run_at_work_stay(runs: Runs) -> None:
    runs.run("e")
    runs.cut("d")
    runs.lose("c")
    runs.lose("b")
    runs.lose("a")
    runs.registry.write("runs/c/checkpoints/1-ab", b"state")
    in_order(runs.registry, *"edcba")
    assert kept(publish.prune(runs.registry, 1)) == {
        "a": "new",
        "c": "its run is at work",
        "d": "to be promoted",
        "e": "champion",
    }
    assert runs.night("d").promoted


def test_a_release_that_is_promoted_while_it_is_deleted_comes_back(runs: Runs) -> None:
    runs.lose("c")
    runs.run("b")
    runs.lose("a")
    in_order(runs.registry, *"cba")
    late = racing(runs.registry, "delete", lambda: runs.choose("c"))
    assert kept(publish.prune(late, 1))["c"] == "promoted in the meantime"
    assert runs.champion == "c"
    publish.verify(f"{runs.registry.uri}/releases/c")


def test_an_attempt_that_writes_the_manifest_after_a_deletion_gives_a_whole_release(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 1245 of the worlds: two attempts finished one claim, and one of them pruned it."""
    late = runs.lose("c")
    runs.run("b")
    runs.lose("a")
    in_order(runs.registry, *"cba")
    publish.prune(runs.registry, 1)
    assert publish.find(runs.registry, "c") is None
    runs.registry.write("releases/c/manifest.json", late.raw)
    publish.verify(f"{runs.registry.uri}/releases/c")
    # A day later nobody can be at it any more, and another release is newer.
    newer = runs.registry.read("releases/a/manifest.json")
    runs.registry.write("releases/a/manifest.json", newer)
    in_order(runs.registry, *"cba")
    monkeypatch.setattr("job.publish.retention.ABANDONED_SECONDS", -5.0)
    publish.prune(runs.registry, 1)
    assert list(runs.registry.list("releases/c")) == []


def test_two_deletions_may_put_the_same_release_back(runs: Runs) -> None:
    """Seed 5111 of the crowds: the second one ended with a conflict."""
    runs.lose("c")
    runs.run("b")
    runs.lose("a")
    in_order(runs.registry, *"cba")
    manifest = "releases/c/manifest.json"
    raw = runs.registry.read(manifest)
    late = racing(runs.registry, "write_if", lambda: runs.registry.write(manifest, raw))
    late = racing(late, "delete", lambda: runs.choose("c"))
    assert kept(publish.prune(late, 1))["c"] == "promoted in the meantime"
    publish.verify(f"{runs.registry.uri}/releases/c")


def test_a_choice_of_a_release_that_is_deleted_meanwhile_says_so(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.lose("c")
    runs.run("b")
    runs.lose("a")
    in_order(runs.registry, *"cba")
    late = racing(runs.registry, "write_if", lambda: publish.prune(runs.registry, 1))
    monkeypatch.setattr("job.publish.promotion.connect", lambda _: late)
    before = runs.registry.read("promoted.json")
    with pytest.raises(ReleaseError, match="was deleted while it was promoted"):
        runs.choose("c")
    assert runs.registry.read("promoted.json") == before


def choose_twice_while_deleted(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promote c over b, while it is deleted and promoted by somebody else too."""
    runs.choose("c")
    chosen = runs.registry.read("promoted.json")
    runs.choose("b")

    def choose_and_die() -> None:
        # Another `graft promote` of it, which is killed before it looks.
        runs.registry.delete("releases/c")
        runs.registry.write("promoted.json", chosen)

    late = racing(runs.registry, "head", choose_and_die)
    monkeypatch.setattr("job.publish.promotion.connect", lambda _: late)
    with pytest.raises(ReleaseError, match="was deleted while it was promoted"):
        runs.choose("c")


def test_two_choices_of_a_release_that_is_deleted_leave_the_champion(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 459 of the worlds: one put back what the other had written, which named nothing."""
    runs.run("c")
    runs.run("b")
    choose_twice_while_deleted(runs, monkeypatch)
    assert runs.champion == "b"
    publish.verify(runs.registry.uri)


def test_a_pointer_that_is_rebuilt_is_a_choice_by_hand_that_no_night_undoes(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 329 of the scene `crowd`: a choice by hand was lost, and the next night promoted."""
    runs.run("b")
    won_before = runs.cut("d")
    runs.lose("c")
    runs.choose("b")
    choose_twice_while_deleted(runs, monkeypatch)
    assert runs.champion == "b"
    state = publish.finish_promotion(runs.registry, won_before)
    assert not state.promoted
    assert "chosen by hand" in state.reason
    assert runs.champion == "b"


def test_a_run_whose_release_is_deleted_before_it_is_promoted_leaves_the_champion(
    runs: Runs,
) -> None:
    """Seed 54 of the simulated worlds: promoted.json named a release that was gone."""
    runs.run("c")
    manifest = runs.cut("b")
    runs.choose("c")
    runs.lose("a")
    in_order(runs.registry, *"cba")
    late = racing(runs.registry, "write_if", lambda: publish.prune(runs.registry, 1))
    decision = decision_against(publish.read_champion(runs.registry))
    with pytest.raises(TemporaryError, match="was deleted while it was promoted"):
        publish.promote(late, manifest, decision, decision_against)
    assert runs.champion == "c"
    publish.verify(runs.registry.uri)


def test_nothing_is_deleted_while_the_champion_is_not_known(runs: Runs) -> None:
    runs.lose("b")
    runs.lose("a")
    runs.registry.write("promoted.json", b"{")
    with pytest.raises(ReleaseError, match="is not valid"):
        publish.prune(runs.registry, 1)
    assert len(list(publish.read_history(runs.registry))) == 2


def test_a_deletion_that_was_cut_off_is_finished_a_day_later(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.run("b")
    runs.lose("a")
    for run_id in ("cut", "at-work"):
        runs.registry.write(f"releases/{run_id}/model.keras", b"half")
    runs.registry.write("runs/at-work/attempts/1/model.keras", b"half")
    publish.prune(runs.registry, 2)
    assert runs.registry.head("releases/cut/model.keras")
    monkeypatch.setattr("job.publish.retention.ABANDONED_SECONDS", -5.0)
    publish.prune(runs.registry, 2)
    assert runs.registry.head("releases/cut/model.keras") is None
    assert runs.registry.head("releases/at-work/model.keras")
    assert len(list(publish.read_history(runs.registry))) == 2


def test_a_run_deletes_what_is_not_kept_and_a_failure_only_warns(
    runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    runs.lose("c")
    runs.run("b")
    runs.lose("a")
    in_order(runs.registry, *"cba")
    given = {"GRAFT_DATASET_URI": "/data", "GRAFT_OUTPUT_URI": "/models"}
    released.prune_releases(settings.load(given), runs.registry)
    assert publish.find(runs.registry, "c")
    keeping = settings.load(given | {"GRAFT_OUTPUT_KEEP": "1"})
    released.prune_releases(keeping, runs.registry)
    assert publish.find(runs.registry, "c") is None

    runs.registry.write("promoted.json", b"{")
    released.prune_releases(keeping, runs.registry)
    assert "Old releases were not deleted" in caplog.text
    assert publish.find(runs.registry, "b")


# --- the way back ---


def test_a_roll_back_stays_and_a_second_one_goes_further_back(runs: Runs) -> None:
    for run_id in "abc":
        runs.run(run_id)
    assert publish.roll_back(runs.registry.uri).endswith("/releases/b")
    assert (runs.champion, runs.pointer["by"]) == ("b", "manual")
    assert runs.pointer["reason"] == "Rolled back by hand from releases/c."
    assert not runs.night("c").promoted
    assert publish.roll_back(runs.registry.uri).endswith("/releases/a")
    with pytest.raises(ReleaseNotFound, match="no champion before a"):
        publish.roll_back(runs.registry.uri)
    assert runs.champion == "a"


def test_a_choice_by_hand_is_taken_back_to_what_it_replaced(runs: Runs) -> None:
    for run_id in "abc":
        runs.run(run_id)
    runs.choose("a")
    assert publish.roll_back(runs.registry.uri).endswith("/releases/c")


def test_a_roll_back_after_a_pruning_is_still_possible(runs: Runs) -> None:
    runs.run("d")
    runs.run("c")
    runs.lose("b")
    runs.lose("a")
    in_order(runs.registry, *"dcba")
    publish.prune(runs.registry, 1)
    assert publish.roll_back(runs.registry.uri).endswith("/releases/d")


def test_where_there_is_no_way_back_the_cure_is_named(runs: Runs) -> None:
    with pytest.raises(ReleaseNotFound, match="no champion"):
        publish.roll_back(runs.registry.uri)
    runs.run("a")
    with pytest.raises(ReleaseNotFound, match="no champion before a"):
        publish.roll_back(runs.registry.uri)
    runs.run("b")
    runs.registry.delete("releases/a")
    with pytest.raises(ReleaseNotFound, match="is gone") as error:
        publish.roll_back(runs.registry.uri)
    assert "graft promote" in error.value.cure


# --- the verbs ---


def test_the_verbs_say_what_they_do(
    runs: Runs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = runs.registry.uri
    runs.run("c")
    runs.run("b")
    runs.lose("a")
    runs.lose("0")
    in_order(runs.registry, *"cba0")
    assert main(["prune", model]) == 2
    assert "Give --keep N" in capsys.readouterr().err
    assert main(["prune", model, "--keep", "0"]) == 2
    capsys.readouterr()

    monkeypatch.setenv("GRAFT_OUTPUT_KEEP", "1")
    assert main(["prune", model, "--dry-run"]) == 0
    assert "1 of 4 releases would be deleted." in capsys.readouterr().out
    assert main(["prune", model, "--keep", "4"]) == 0
    assert "0 of 4 releases deleted." in capsys.readouterr().out
    assert main(["prune", model]) == 0
    out = capsys.readouterr().out
    assert [line.split(None, 1) for line in out.splitlines()[:-1]] == [
        ["0", "new"],
        ["a", "deleted"],
        ["b", "champion"],
        ["c", "the champion before"],
    ]
    assert main(["rollback", model]) == 0
    assert capsys.readouterr().out == f"{model}/releases/c is the champion.\n"
    assert main(["prune", f"{model}-of-nobody"]) == 2

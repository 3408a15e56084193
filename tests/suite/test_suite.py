"""The suite of fixed choices: its tasks, its runner, and its regret on tables made by hand."""

import json
from collections import Counter, defaultdict
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from job.selection import Judged
from tools.suite import regret, runner
from tools.suite.choices import CHOICES
from tools.suite.measuring import bootstrap_means, measure_regret
from tools.suite.outcomes import Outcome, Table, count_work, read_table
from tools.suite.race import replay_race
from tools.suite.rules import RACE, RULES, decide_on_all
from tools.suite.tasks import TASKS, deal_evenly

# Tasks whose pictures need neither a download nor a minute of drawing.
TINY = ("spectrograms", "digits-1200")
QUADRANTS = {("little", "like"), ("little", "unlike"), ("much", "like"), ("much", "unlike")}
BEST_SCORE = RULES["best score"]


def list_contents(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file, by name."""
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.png")
    }


def answer(labels: np.ndarray, wrong: int, sure: float = 1.0) -> np.ndarray:
    """Logits [n, 2] that are right but for the first `wrong` images."""
    said = labels.copy()
    said[:wrong] = 1 - said[:wrong]
    return (sure * np.eye(2)[said]).astype(np.float32)


def make_outcome(val_wrong: int, test_wrong: int, work: float, sure: float = 1.0) -> Outcome:
    """An outcome with so many mistakes among 100 validation and 200 test images."""
    val_labels = np.arange(100) % 2
    test_labels = np.arange(200) % 2
    return Outcome(
        val=answer(val_labels, val_wrong, sure),
        val_labels=val_labels,
        test=answer(test_labels, test_wrong, sure),
        test_labels=test_labels,
        seconds=work,
        cpu_seconds=work,
        epochs=0,
        of_epochs=10,
        work=work,
        plain_work=4.0,
        layers=10,
        train=50,
        history="[]",
        refinements="[]",
    )


@pytest.fixture
def table() -> Table:
    """One task on three seeds. On the last one, validation points to the choice that is worse."""
    return {
        "by hand": {
            0: {"none": make_outcome(30, 60, 1.0), "all": make_outcome(10, 20, 4.0)},
            1: {"none": make_outcome(30, 60, 1.0), "all": make_outcome(10, 30, 4.0)},
            2: {"none": make_outcome(10, 60, 1.0), "all": make_outcome(30, 50, 4.0)},
        }
    }


def test_the_tasks_cover_the_four_quadrants() -> None:
    assert len(TASKS) >= 8
    assert {(task.amount, task.kind) for task in TASKS.values()} == QUADRANTS


@pytest.mark.parametrize("name", TINY)
def test_a_draw_is_the_same_each_time_and_another_for_each_seed(tmp_path: Path, name: str) -> None:
    task = TASKS[name].shrink(12)
    for folder, seed in (("one", 0), ("again", 0), ("other", 1)):
        task.write(seed, tmp_path / folder)
    one, again, other = (list_contents(tmp_path / name) for name in ("one", "again", "other"))
    assert one == again
    assert one != other
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["test", "train", "val"]
    assert len(one) == sum(task.sizes)


def test_a_photograph_is_in_one_part_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Each photograph has a colour of its own, by which a scene of it is recognised.
    colours = [(count, 255, 0, 255) for count in range(220)]
    flat = tuple(Image.new("RGBA", (60, 60), colour) for colour in colours)
    labels = tuple("ab"[count % 2] for count in range(220))
    monkeypatch.setattr("tools.suite.tasks.sources.load_photographs", lambda: (flat, labels))
    TASKS["pasted"].write(0, tmp_path)
    parts: dict[str, set[int]] = defaultdict(set)
    for path in tmp_path.rglob("*.png"):
        pixels = np.asarray(Image.open(path)).reshape(-1, 3)
        ours = pixels[(pixels[:, 1] == 255) & (pixels[:, 2] == 0)]
        reds, counts = np.unique(ours[:, 0], return_counts=True)
        parts[path.relative_to(tmp_path).parts[0]].add(int(reds[counts.argmax()]))
    assert [len(parts[part]) for part in ("train", "val", "test")] == [140, 40, 40]
    assert len(set.union(*parts.values())) == 220


def test_each_part_has_the_classes_in_their_shares() -> None:
    labels = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    parts = deal_evenly(labels, (50, 20, 30), np.random.default_rng(0))
    assert sorted(np.concatenate(list(parts.values()))) == list(range(100))
    assert [len(numbers) for numbers in parts.values()] == [50, 20, 30]
    for numbers in parts.values():
        counts = Counter(labels[number] for number in numbers)
        expected = {"a": 0.6, "b": 0.3, "c": 0.1}
        assert {name: counts[name] / len(numbers) for name in expected} == pytest.approx(
            expected, abs=0.08
        )


def test_the_work_of_an_epoch_counts_gradients_twice() -> None:
    # The solved head: 120 images through 10 layers. An epoch: 100 x (4 + 3 x 6) + 20 x 10.
    assert count_work(10, 4, (100, 20), 0) == 1200
    assert count_work(10, 4, (100, 20), 2) == 1200 + 2 * 2400


@pytest.mark.runs
def test_a_tiny_suite_runs_is_resumed_and_is_judged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--seeds", "0", "--choices", "none", "part-1", "--epochs", "1", "--threads", "2"]
    arguments += ["--task", *TINY, "--folder", str(tmp_path), "--shrink", "24"]
    runner.main(arguments)
    found = read_table(tmp_path, ["none", "part-1"])
    assert {task: list(draws) for task, draws in found.items()} == {name: [0] for name in TINY}
    for name, draws in found.items():
        none, part = draws[0]["none"], draws[0]["part-1"]
        assert (none.epochs, part.epochs) == (0, 1)
        assert none.val.shape == (len(none.val_labels), len(np.unique(none.test_labels)))
        assert np.array_equal(none.test_labels, part.test_labels)
        # After so little training, validation may prefer the weights at the start.
        assert json.loads(part.refinements)[0]["name"] == "best epoch"
        assert none.work < part.work < part.plain_work
        assert name in TASKS
    capfd.readouterr()
    runner.main(arguments)
    assert capfd.readouterr().out.startswith("0 fits on 0 draws")

    regret.main(["--folder", str(tmp_path), "--choices", "none", "part-1"])
    facts = json.loads((tmp_path / "regret.json").read_text())
    assert [rule["rule"] for rule in facts["rules"]] == [regret.RACE, *RULES]
    assert sorted(task["task"] for task in facts["rules"][0]["tasks"]) == sorted(TINY)
    lines = (tmp_path / "regret.md").read_text().splitlines()
    assert sum(line.startswith(f"| {TINY[0]} | little, unlike |") for line in lines) == 1


def test_regret_is_the_best_choice_of_the_other_seeds_minus_what_the_rule_took(
    table: Table,
) -> None:
    found = measure_regret(table, "best score", decide_on_all(BEST_SCORE))
    (task,) = found.tasks
    assert task.chosen == ["all", "all", "none"]
    assert task.fixed == ["all", "all", "all"]
    # On seeds 0 and 1 nothing is lost. On seed 2 the rule has 60 mistakes of 200, and not 50.
    assert task.regret.mean == pytest.approx((0 + 0 + 0.05) / 3)
    assert task.regret.low <= task.regret.mean <= task.regret.high
    assert task.scores == pytest.approx({"none": 0.7, "all": (0.9 + 0.85 + 0.75) / 3})
    assert found.auto == pytest.approx((0.9 + 0.85 + 0.7) / 3)
    assert found.gains["none"].mean == pytest.approx(found.auto - 0.7)
    assert task.auto_work == pytest.approx((1 + 1 + 0.25) / 3)
    # All choices were fitted.
    assert task.spent == pytest.approx(1.25)


# --- the race, replayed ---

IMAGES = (500, 200)
LAYERS = 10
# Passes of an epoch: three over the layers that are freed.
FROZEN = {"all": 0, "part-1": 8, "part-3": 4}


def make_draw(solved: int, first: dict[str, float], last: dict[str, int]) -> dict[str, Outcome]:
    """Outcomes of ten epochs on 200 validation images.

    Args:
        solved: mistakes of the solved heads there.
        first: the validation accuracy of each choice in the first epochs.
        last: mistakes at the end.
    """
    train, val = IMAGES
    labels = np.arange(val) % 2
    work = count_work(LAYERS, 0, IMAGES, 10)
    draw = {}
    for name in CHOICES:
        rows = []
        for epoch in range(10 if name in FROZEN else 0):
            value = first[name] if epoch < 5 else 1 - last[name] / val
            rows.append({"stage": "tune", "val_accuracy": value, "val_loss": 1 - value})
        draw[name] = replace(
            make_outcome(0, 0, 0.0),
            # What is left over from the solved heads is wrong elsewhere.
            val=np.roll(answer(labels, last.get(name, solved)), 50 * (name in FROZEN), axis=0),
            val_labels=labels,
            epochs=len(rows),
            work=count_work(LAYERS, FROZEN.get(name, 0), IMAGES, len(rows)),
            plain_work=work,
            train=train,
            history=json.dumps(rows),
        )
    return draw


def test_a_race_ends_after_the_pilot_where_a_solved_head_stays_far_ahead() -> None:
    draw = make_draw(10, dict.fromkeys(FROZEN, 0.85), dict.fromkeys(FROZEN, 0))
    decision = replay_race("by hand", draw)
    assert decision.choice == "none"
    # The solved heads, and two of ten epochs of `all`: the pilot sees 1,000 images.
    assert decision.work == pytest.approx(700 / (10 * 1700) + 0.2)


def test_a_race_that_goes_on_halves_the_candidates_and_keeps_the_best() -> None:
    first = {"all": 0.91, "part-1": 0.92, "part-3": 0.93}
    decision = replay_race("by hand", make_draw(10, first, dict.fromkeys(FROZEN, 0)))
    assert decision.choice == "part-3"
    assert 0.5 < decision.work <= 1.5


def test_few_images_that_are_like_imagenet_are_not_raced() -> None:
    draw = make_draw(10, dict.fromkeys(FROZEN, 0.99), dict.fromkeys(FROZEN, 0))
    for name, outcome in draw.items():
        draw[name] = replace(outcome, val=outcome.val[:150], val_labels=outcome.val_labels[:150])
    decision = replay_race("views", draw)
    assert decision.choice == "none"
    assert decision.work == pytest.approx(650 / (10 * 1700), rel=0.05)


def test_a_seed_does_not_pick_the_choice_that_it_is_compared_with() -> None:
    # On seed 0 alone `none` is better, by 4 mistakes, on seed 1 alone `all`, by 20.
    draws = {
        0: {"none": make_outcome(10, 16, 1.0), "all": make_outcome(30, 20, 4.0)},
        1: {"none": make_outcome(10, 60, 1.0), "all": make_outcome(30, 40, 4.0)},
    }
    (task,) = measure_regret({"by hand": draws}, "best score", decide_on_all(BEST_SCORE)).tasks
    assert task.fixed == ["all", "none"]
    assert task.regret.mean == pytest.approx((-0.02 + 0) / 2)


def test_the_means_count_each_task_once(table: Table) -> None:
    (only,) = measure_regret(table, "best score", decide_on_all(BEST_SCORE)).tasks
    table["other"] = {
        0: {"none": make_outcome(10, 0, 1.0), "all": make_outcome(30, 0, 4.0)},
    }
    found = measure_regret(table, "best score", decide_on_all(BEST_SCORE))
    assert found.regret.mean == pytest.approx(only.regret.mean / 2)


def test_outcomes_of_other_images_are_refused(table: Table) -> None:
    strange = make_outcome(10, 20, 4.0)
    strange.test_labels[:] = 0
    table["by hand"][1]["all"] = strange
    with pytest.raises(ValueError, match="by hand, seed 1: the outcome of all is of other images"):
        measure_regret(table, "best score", decide_on_all(BEST_SCORE))


def test_the_interval_covers_images_and_seeds() -> None:
    values = np.array([1] * 30 + [0] * 60 + [-1] * 10)
    samples = bootstrap_means([values], 20_000)
    assert samples.mean() == pytest.approx(0.2, abs=0.002)
    assert samples.std() == pytest.approx(values.std() / 10, rel=0.03)
    between_seeds = bootstrap_means([np.zeros(100), np.ones(100)], 20_000)
    assert sorted(set(between_seeds)) == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("rule", "images", "more", "chosen"),
    [
        (RACE, 200, 1, "cheap"),
        # 1.5 points: more than one, though within the standard error of 2.4 points.
        (RACE, 200, 3, "dear"),
        # Few images cannot show a difference of one point.
        (RACE, 100, 3, "cheap"),
        ("one standard error, at most 1 point", 100, 3, "dear"),
        ("one standard error, at most 2 points", 200, 3, "cheap"),
        ("one standard error", 200, 4, "cheap"),
        ("one standard error", 1000, 4, "cheap"),
        ("half a standard error, at most 1 point", 1000, 4, "dear"),
        ("best score", 200, 1, "dear"),
    ],
)
def test_each_rule_has_its_own_idea_of_as_good(
    rule: str, images: int, more: int, chosen: str
) -> None:
    labels = np.arange(images) % 2
    # Each has mistakes of its own, and the cheap one has some more.
    cheap = np.roll(answer(labels, 10 + more), 50, axis=0)
    judged = [Judged("dear", 2.0, answer(labels, 10)), Judged("cheap", 1.0, cheap)]
    assert RULES[rule](judged, labels) == chosen
    assert RULES[rule](judged[::-1], labels) == chosen


def test_of_equal_scores_the_lower_loss_is_best_and_the_race_takes_the_cheaper() -> None:
    labels = np.arange(200) % 2
    judged = [
        Judged("cheap", 1.0, answer(labels, 10, sure=0.5)),
        Judged("dear", 2.0, answer(labels, 10, sure=2.0)),
    ]
    assert BEST_SCORE(judged, labels) == "dear"
    assert RULES[RACE](judged, labels) == "cheap"


def test_every_choice_has_a_name_that_is_a_file_name() -> None:
    assert all(name.replace("-", "").isalnum() for name in CHOICES)

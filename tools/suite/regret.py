"""How much the choice by a rule loses to the best fixed choice, on the table of the suite.

    .venv/bin/python -m tools.suite.regret [--choices NAME …] [--folder FOLDER]

Writes `regret.json` and `regret.md`, a part of docs/figures.md, into the folder, and prints the
second. Draws of which a choice is missing are left out.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tools.paths import ROOT
from tools.suite.choices import CHOICES
from tools.suite.measuring import Estimate, Regret, measure_regret
from tools.suite.outcomes import Table, read_table
from tools.suite.race import replay_race
from tools.suite.rules import RULES, decide_on_all
from tools.suite.tasks import TASKS
from tools.tables import format_table

FOLDER = ROOT / "run" / "suite"
RACE = "the race"
# A score of fewer images moves by more than what is promised for a task.
MANY_TEST_IMAGES = 1000


def write_tables(judged: Sequence[Regret], table: Table) -> str:
    """Write the figures as Markdown.

    Args:
        judged: the race first, then each rule.
        table: what they were applied to.
    """
    race = judged[0]
    seeds = max(len(task.seeds) for task in race.tasks)
    scores = f"""
Test accuracy in %, mean over at most {seeds} seeds. `auto` is {race.rule}, replayed on these fits.
Regret is the best fixed choice, picked on the other seeds, minus `auto`, in points, with the upper
end of a one-sided 95 % interval (bootstrap over seeds and test images).
"""
    gains = """
What `auto` has more than each fixed choice, mean over the tasks, with the lower end of its
interval.
"""
    rules = f"""
The race, and rules that see every choice fitted to its end. Worst is the largest regret of a task
with at least {MANY_TEST_IMAGES:,} test images. Work is in runs of `all`.
"""
    costs = """
What a fit takes: the share of the work of one plain run of `all`, and seconds of CPU, without
prediction. The first choice of a draw computes the features for all of them. `auto` is the work of
the whole race.
"""
    parts = (
        *(scores, _format_scores(race)),
        *(gains, _format_gains(race)),
        *(rules, _format_rules(judged)),
        *(costs, _format_costs(race, table)),
    )
    return "\n".join(parts).lstrip() + "\n"


def _format_scores(race: Regret) -> str:
    choices = list(race.scores)
    rows = []
    for task in race.tasks:
        quadrant = ""
        if task.task in TASKS:
            quadrant = f"{TASKS[task.task].amount}, {TASKS[task.task].kind}"
        best = max(task.scores.values())
        scores = [_format_best(task.scores[choice], best) for choice in choices]
        chosen = " ".join(task.chosen)
        regret = _format_bound(task.regret)
        rows.append([task.task, quadrant, *scores, f"{100 * task.auto:.1f}", regret, chosen])
    best = max(race.scores.values())
    means = [_format_best(race.scores[choice], best) for choice in choices]
    total = ["mean", "", *means, f"{100 * race.auto:.1f}", _format_bound(race.regret), ""]
    return format_table(
        ["task", "data", *choices, "`auto`", "regret", "what `auto` took, by seed"],
        [*rows, total],
    )


def _format_gains(race: Regret) -> str:
    row = [f"{100 * gain.mean:+.2f} (≥ {100 * gain.low:+.2f})" for gain in race.gains.values()]
    return format_table(list(race.gains), [row])


def _format_rules(judged: Sequence[Regret]) -> str:
    rows = []
    for each in judged:
        large = [task for task in each.tasks if task.test_images >= MANY_TEST_IMAGES]
        worst = max(large, key=lambda task: task.regret.mean, default=None)
        named = ""
        if worst is not None:
            named = f"{_format_bound(worst.regret)} {worst.task}"
        work = np.mean([task.auto_work for task in each.tasks])
        score = f"{100 * each.auto:.2f}"
        spent = np.mean([task.spent for task in each.tasks])
        works = [f"{work:.2f}", f"{spent:.2f}"]
        rows.append([each.rule, score, _format_bound(each.regret), named, *works])
    heads = ["rule", "test", "regret", "worst", "work of what it took", "work to find it"]
    return format_table(heads, rows)


def _format_costs(race: Regret, table: Table) -> str:
    choices = list(race.scores)
    rows = []
    for task in race.tasks:
        draws = table[task.task].values()
        cells = []
        for choice in choices:
            seconds = np.mean([row[choice].cpu_seconds for row in draws])
            epochs = np.mean([row[choice].epochs for row in draws])
            cells.append(f"{task.work[choice]:.2f}, {seconds:.0f} s, {epochs:.0f} epochs")
        rows.append([task.task, *cells, f"{task.spent:.2f}"])
    return format_table(["task", *choices, "`auto`"], rows)


def _format_best(score: float, best: float) -> str:
    text = f"{100 * score:.1f}"
    return f"**{text}**" if score == best else text


def _format_bound(regret: Estimate) -> str:
    return f"{100 * regret.mean:+.2f} (≤ {100 * regret.high:+.2f})"


def main(arguments: Sequence[str]) -> None:
    """Judge each rule, write the files and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tools.suite.regret", description=__doc__)
    parser.add_argument("--choices", nargs="+", choices=CHOICES, default=list(CHOICES))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    table = read_table(options.folder, options.choices)
    if not table:
        raise SystemExit(
            f"{options.folder} holds no draw with all of {', '.join(options.choices)}. "
            "Run tools.suite.runner first."
        )
    judged = [measure_regret(table, RACE, replay_race)]
    for name, rule in RULES.items():
        judged.append(measure_regret(table, name, decide_on_all(rule)))
    facts = {"choices": options.choices, "rules": [asdict(each) for each in judged]}
    (options.folder / "regret.json").write_text(json.dumps(facts, indent=2) + "\n")
    text = write_tables(judged, table)
    (options.folder / "regret.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main(sys.argv[1:])

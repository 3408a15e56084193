"""`make suite`: fit each choice once per task and seed, and judge the rule on the table.

    .venv/bin/python -m tools.suite.runner [--task NAME …] [--seeds 0 1 …] [--choices NAME …]

A fit that is stored in the folder is not repeated, so an interrupted suite goes on where it was.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean

from job.settings import TrainingSettings
from tools.paths import ROOT
from tools.suite.choices import CHOICES
from tools.suite.jobs import FitJob, run_job
from tools.suite.outcomes import Outcome, locate_outcome
from tools.suite.tasks import TASKS

FOLDER = ROOT / "run" / "suite"
SEEDS = range(5)
# Half of what a run takes by default, for the sake of time.
EPOCHS = 10


def run_suite(jobs: Sequence[FitJob], processes: int) -> None:
    """Run jobs, each in a fresh process: TensorFlow gives no memory back.

    Raises:
        BrokenProcessPool: a process was killed. What is stored stays.
    """
    left = list(jobs)
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        futures = {pool.submit(run_job, job): job for job in jobs}
        for future in as_completed(futures):
            future.result()
            left.remove(futures[future])
            minutes = _estimate_seconds(left) / processes / 60
            print(f"{len(left)} draws left, about {minutes:.0f} minutes", flush=True)


def plan_jobs(options: argparse.Namespace) -> list[FitJob]:
    """List what is not stored yet: all tasks of a seed before those of the next one."""
    jobs = []
    for seed in options.seeds:
        for task in options.task:
            missing = []
            for choice in options.choices:
                if not locate_outcome(options.folder, task, seed, choice).exists():
                    missing.append(choice)
            if missing:
                job = FitJob(
                    task=task,
                    seed=seed,
                    choices=tuple(missing),
                    folder=options.folder,
                    training=TrainingSettings(
                        epochs=options.epochs, patience=options.patience, views=options.views
                    ),
                    divisor=options.shrink,
                    threads=options.threads,
                    backbone=options.backbone,
                    keeps_weights=options.keep_weights,
                )
                jobs.append(job)
    return jobs


def _estimate_seconds(jobs: Sequence[FitJob]) -> float:
    """What these jobs will take, by what the same fits of other seeds took."""
    known: dict[tuple[str, str], list[float]] = {}
    for job in jobs:
        for choice in job.choices:
            seconds = [
                Outcome.read(path).seconds
                for path in (job.folder / job.task).glob(f"*/{choice}.npz")
            ]
            known[job.task, choice] = seconds
    every = [second for seconds in known.values() for second in seconds]
    typical = fmean(every) if every else 0.0
    total = 0.0
    for job in jobs:
        for choice in job.choices:
            seconds = known[job.task, choice]
            total += fmean(seconds) if seconds else typical
    return total


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    # No abbreviations: `--seed` would be taken for `--seeds`.
    parser = argparse.ArgumentParser(
        prog="python -m tools.suite.runner", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--task", nargs="+", choices=TASKS, default=list(TASKS), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), metavar="SEED")
    parser.add_argument(
        "--choices", nargs="+", choices=CHOICES, default=list(CHOICES), metavar="NAME"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the outcomes")
    parser.add_argument("--processes", type=int, default=1, help="draws at once")
    parser.add_argument(
        "--threads",
        type=int,
        default=int(os.environ.get("GRAFT_DEVICES_THREADS", "2")),
        help="of TensorFlow, in each process",
    )
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--patience", type=int, default=TrainingSettings().patience)
    parser.add_argument(
        "--views", type=int, default=0, help="of each image; outcomes need a folder of their own"
    )
    parser.add_argument("--shrink", type=int, default=1, help="take one of so many images")
    parser.add_argument("--backbone", default="EfficientNetLite0")
    parser.add_argument("--keep-weights", action="store_true", help="14 MB for each fit")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Fit what is missing."""
    options = parse_options(arguments)
    jobs = plan_jobs(options)
    fits = sum(len(job.choices) for job in jobs)
    print(f"{fits} fits on {len(jobs)} draws are missing in {options.folder}", flush=True)
    run_suite(jobs, options.processes)


if __name__ == "__main__":
    main(sys.argv[1:])

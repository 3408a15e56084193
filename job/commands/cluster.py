"""Verbs that use a Kubernetes cluster: `submit`, `watch`, `logs`, `runs`."""

import argparse
import os
from typing import TYPE_CHECKING

from job import console
from job.commands.environment import find_result_path
from job.commands.outcome import report_wait, run_until_result
from job.errors import Interrupted, SettingsError
from job.result import Result

if TYPE_CHECKING:
    from job.launcher import Cluster
    from job.workers import Stop


def submit(arguments: argparse.Namespace) -> int:
    """Start a run and, with --wait, follow it to its end."""

    def submit_and_wait(stop: "Stop") -> Result:
        from job import launcher
        from job.workers import Terminated

        cluster, run = _connect_cluster(arguments), ""
        try:
            # A stop in the middle would not know whether there is a run to cancel.
            with stop.deferred():
                run = _submit_run(cluster, arguments)
        except (Interrupted, Terminated) as error:
            if not run:
                raise
            raise launcher.abandon(cluster, run, error, cancel=arguments.cancel_on_exit) from error
        return launcher.watch(
            cluster,
            run,
            console.print_note,
            start_timeout=arguments.start_timeout,
            cancel=arguments.cancel_on_exit,
        )

    if arguments.wait:
        return report_wait(run_until_result(submit_and_wait), find_result_path(os.environ))
    if arguments.cancel_on_exit or arguments.start_timeout is not None:
        raise SettingsError("--start-timeout and --cancel-on-exit belong to a wait.", "Add --wait.")
    console.print_answer(_submit_run(_connect_cluster(arguments), arguments))
    return 0


def watch(arguments: argparse.Namespace) -> int:
    """Follow a run to its end, and say what holds it up."""
    from job import launcher

    outcome = launcher.watch(_connect_cluster(arguments), arguments.run, console.print_answer)
    console.print_answer(outcome.summary())
    return outcome.exit_code


def logs(arguments: argparse.Namespace) -> int:
    """Print the log of a run, from pod to pod, until it ends."""
    from job import launcher

    for line in launcher.follow_logs(_connect_cluster(arguments), arguments.run):
        console.print_answer(line)
    return 0


def runs(arguments: argparse.Namespace) -> int:
    """List the runs with what came out of them."""
    from job import launcher

    print(launcher.format_table(launcher.list_runs(_connect_cluster(arguments))))
    return 0


def _submit_run(cluster: "Cluster", arguments: argparse.Namespace) -> str:
    """The name of the run that was started or, under the same key, found."""
    from job import launcher

    submitted = launcher.submit(cluster, arguments.name, dict(arguments.set), arguments.key)
    how = "was there already" if submitted.attached else "is submitted"
    if submitted.ended:
        how += ", and has ended"
    if submitted.resumes:
        how += f": it goes on from the checkpoint of {submitted.resumes}, which has failed"
    console.print_note(f"{submitted.name} {how}")
    if submitted.differs:
        console.print_note(
            f"it keeps its own {', '.join(submitted.differs)}: take another --key for a run with "
            "other settings"
        )
    return submitted.name


def _connect_cluster(arguments: argparse.Namespace) -> "Cluster":
    from job import launcher

    return launcher.connect(arguments.namespace, os.environ.get("KUBECONFIG"))

"""Verbs that use a Kubernetes cluster: `submit`, `watch`, `logs`, `runs`."""

import argparse
import os
from typing import TYPE_CHECKING

from job import console
from job.commands.arguments import AddVerb, add_assignments
from job.commands.environment import find_result_path
from job.commands.outcome import report_wait, run_until_result
from job.errors import Interrupted, SettingsError
from job.result import Result

if TYPE_CHECKING:
    from job.launcher import Cluster
    from job.workers import Stop

NAMESPACE = "default: that of the kubeconfig's context, or the pod's own"


def add_verbs(add_verb: AddVerb) -> None:
    """Add the verbs of this module to the parser."""
    submit_verb = add_verb(
        "submit",
        submit,
        "Start a run in a cluster, from an installed template or schedule.",
    )
    submit_verb.add_argument("name", help="the template's or schedule's name")
    add_assignments(
        submit_verb, "a setting in place of the template's own; may be given many times"
    )
    submit_verb.add_argument(
        "--key",
        help="who asks, such as a workflow's uid: the same key never starts a second run, and one "
        "that ended with 75 goes on",
    )
    submit_verb.add_argument(
        "--wait", action="store_true", help="follow the run; end with its result and its exit code"
    )
    submit_verb.add_argument(
        "--start-timeout",
        type=float,
        metavar="S",
        help="with --wait: give up (75) if no pod has started after S seconds",
    )
    submit_verb.add_argument(
        "--cancel-on-exit",
        action="store_true",
        help="with --wait: end the run if the wait ends first, also where the node of the waiting "
        "pod is drained",
    )
    watch_verb = add_verb(
        "watch", watch, "Follow a run in a cluster to its end, and say what holds it up."
    )
    watch_verb.add_argument("run", help="the run's name: see `graft runs`")
    logs_verb = add_verb(
        "logs", logs, "Print the log of a run in a cluster, from pod to pod, until it ends."
    )
    logs_verb.add_argument("run", help="the run's name: see `graft runs`")
    runs_verb = add_verb("runs", runs, "List the runs of a cluster with what came out of them.")
    for command in (submit_verb, watch_verb, logs_verb, runs_verb):
        command.add_argument("--namespace", help=NAMESPACE)


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

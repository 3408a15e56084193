"""argv -> verb -> exit code."""

from job import import_path

# Before anything else is imported, which might come from there.
import_path.forget_working_directory()

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

# Before anything can import TensorFlow: its C++ log is for its developers.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from job import console, supervision
from job.commands import (
    cluster,
    completion,
    environment,
    outcome,
    releases,
    settings,
    training,
    usage,
)
from job.commands.arguments import AddVerb, Verb, add_assignments, parse_count
from job.errors import Interrupted, JobError, SettingsError, explain_missing

MODEL = "URI of the model: <output uri>/<name>"
RELEASE = "URI of a release, or of a model, which means its champion"
STOP_NOTE = (
    "the run ends at the next safe point, and a training is saved there. Ctrl-C from now on ends "
    "it at once, and loses what came after the last checkpoint."
)


def entry() -> int:
    """`graft` as a command: `main` in a process of its own, watched by this one."""
    notes = supervision.settle_surroundings()
    stop_note = STOP_NOTE if sys.argv[1:2] == ["run"] else ""

    def work() -> int:
        console.watch_stdout()
        supervision.leave_out_unused()
        if notes:
            from job import telemetry

            telemetry.configure_logs(sys.stderr, sys.stderr.isatty())
        for note in notes:
            console.print_note(note, logging.WARNING)
        return main()

    return supervision.supervise(work, _end_unfinished, stop_note)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb of `graft`. See `graft --help`."""
    from job import telemetry

    telemetry.configure_logs(sys.stderr, sys.stderr.isatty())
    words = list(sys.argv[1:] if argv is None else argv)
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        # Nothing but the work is in the way now, and it has to leave its temporary folders.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        arguments = usage.parse_words(build_parser(), words)
        return console.finish_answer(int(arguments.verb(arguments)))
    except (JobError, ModuleNotFoundError) as raised:
        error = explain_missing(raised)
        if not isinstance(error, JobError):
            raise
        console.print_note(str(error), logging.ERROR)
        return error.exit_code
    except KeyboardInterrupt:
        return _end_unfinished(
            supervision.Ending(code=130, signal=signal.SIGINT, finished=False, last_lines=())
        )
    except BrokenPipeError:  # `graft plan | head`
        console.give_up_stdout()
        return 0
    except console.AnswerLost as error:
        console.give_up_stdout()
        console.print_note(str(error), logging.ERROR)
        return SettingsError.exit_code


def _end_unfinished(ending: supervision.Ending) -> int:
    """Report the process that died at its work, with the result that it owes."""
    from job import telemetry

    telemetry.configure_logs(sys.stderr, sys.stderr.isatty())
    if sys.argv[1:2] == ["run"]:
        arguments = build_parser().parse_args(sys.argv[1:])
        path = training.find_path_of_result(arguments)
        outcome.log_failure(ending.outcome)
        if not ending.cut_off:  # a second Ctrl-C waits for nobody
            training.tell_webhook(arguments, ending.outcome)
        return outcome.report_run(ending.outcome, path)
    if sys.argv[1:2] == ["submit"] and "--wait" in sys.argv:
        return outcome.report_wait(ending.outcome, environment.find_result_path(os.environ))
    if ending.requested:
        error = ending.outcome.error
        console.print_note(error.message if error else ending.description)
        return Interrupted.exit_code
    if ending.signal:
        console.print_note(f"{ending.description}.", logging.ERROR)
    return ending.code or 1


def build_parser() -> argparse.ArgumentParser:
    """The parser of every verb and its arguments."""
    parser = console.Parser(
        prog="graft",
        description="Transfer learning of image classifiers. Settings come from GRAFT_* variables "
        "and from the command line. `graft settings --describe` explains them.",
        epilog="Exit codes: 0 done, 1 a fault of Graft or a damaged release, 2 settings, "
        "3 dataset, 4 weights, 5 diverged, 6 below the gate, 75 try again, "
        "76 another worker was lost.",
    )
    parser.add_argument(
        "--version", action=console.VersionAction, nargs=0, help="print the version, and exit"
    )

    def print_help(_: argparse.Namespace) -> int:
        parser.print_help()
        # As for every call that cannot work: a container without a verb has done nothing.
        return SettingsError.exit_code

    parser.set_defaults(verb=print_help)
    verbs = parser.add_subparsers(metavar="VERB", parser_class=console.VerbParser)

    def add_verb(name: str, verb: Verb, summary: str) -> argparse.ArgumentParser:
        command = verbs.add_parser(name, help=summary, description=summary)
        command.set_defaults(verb=verb)
        return command

    _add_training_verbs(add_verb)
    _add_release_verbs(add_verb)
    cluster.add_verbs(add_verb)
    _add_help_verbs(add_verb, parser)
    parser.set_defaults(verbs=verbs.choices)
    return parser


def _add_training_verbs(add_verb: AddVerb) -> None:
    run = add_verb("run", training.run, "Train a classifier and release it.")
    check = add_verb(
        "check",
        training.check,
        "Test settings, bucket, weights, some images and the accelerator, before a GPU is spent.",
    )
    plan = add_verb(
        "plan",
        training.plan,
        "Show the images, what would be retrained, why, and about how long it would take.",
    )
    plan.add_argument("--layers", action="store_true", help="list every layer of the network too")
    show = add_verb(
        "settings", settings.print_settings, "Print every setting with its value, as JSON."
    )
    show.add_argument(
        "--describe",
        nargs="?",
        const="",
        metavar="NAME",
        help="print instead what a setting is, or those of a group, or all of them",
    )
    for command in (run, check, plan, show):
        _add_sources(command)


def _add_sources(command: argparse.ArgumentParser) -> None:
    """What may be given on the command line in place of variables."""
    command.add_argument(
        "data",
        nargs="?",
        metavar="DATA",
        help="folder, archive, manifest or URI of labelled images, in place of GRAFT_DATASET_URI",
    )
    command.add_argument(
        "output",
        nargs="?",
        metavar="OUTPUT",
        help="folder or URI for releases, in place of GRAFT_OUTPUT_URI",
    )
    add_assignments(command, "a setting, such as training.epochs=5; may be given many times")
    command.add_argument(
        "--env-file",
        type=Path,
        metavar="FILE",
        help="variables, one NAME=VALUE per line: they win over the environment, and DATA, OUTPUT "
        "and --set win over them",
    )


def _add_release_verbs(add_verb: AddVerb) -> None:
    verify = add_verb(
        "verify", releases.verify, "Check every file of a release against its manifest."
    )
    verify.add_argument("release", type=environment.make_uri, help=RELEASE)

    listing = add_verb(
        "releases", releases.list_releases, "List the releases of a model, newest first."
    )
    listing.add_argument("model", type=environment.make_uri, help=MODEL)

    show = add_verb(
        "show",
        releases.show,
        "Show what a release is, how good it is and why it was promoted or not.",
    )
    show.add_argument("release", type=environment.make_uri, help=RELEASE)
    show.add_argument("--json", action="store_true", help="print the manifest")

    predict = add_verb("predict", releases.predict, "Classify images with a release.")
    predict.add_argument("release", type=environment.make_uri, help=RELEASE)
    predict.add_argument(
        "images", nargs="+", help="image files, folders of them, or URIs of either"
    )
    predict.add_argument(
        "--top", type=parse_count, default=3, metavar="N", help="classes for each image (3)"
    )
    form = predict.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object a line")
    form.add_argument("--csv", type=Path, metavar="FILE", help="write one row for each image")

    rank = add_verb("rank", releases.rank, "List which unlabelled images to label next.")
    rank.add_argument("release", type=environment.make_uri, help=RELEASE)
    rank.add_argument("images", nargs="+", help="image files, folders of them, or URIs of either")
    rank.add_argument("--top", type=int, default=20, metavar="N", help="images to print (20)")
    rank.add_argument(
        "--by",
        choices=("entropy", "margin"),
        default="entropy",
        help="how unsure the model is: over all classes (the default), or between the best two",
    )
    rank.add_argument("--csv", type=Path, metavar="FILE", help="write a row for every image")

    evaluate = add_verb(
        "evaluate", releases.evaluate, "Judge a release on other images, and write a report."
    )
    evaluate.add_argument("release", type=environment.make_uri, help=RELEASE)
    evaluate.add_argument(
        "data", help="address of labelled images, as GRAFT_DATASET_URI takes it: all of them judge"
    )
    evaluate.add_argument(
        "--output",
        type=Path,
        default=Path("evaluation"),
        metavar="FOLDER",
        help="where report.html and report.json are written (./evaluation)",
    )

    for command in (predict, rank, evaluate):
        command.add_argument(
            "--trust",
            action="store_true",
            help="run the model even if its graph may do more than compute, such as write files",
        )

    promote = add_verb(
        "promote",
        releases.promote,
        "Make a release the champion, whatever its scores; an earlier one is a roll-back.",
    )
    promote.add_argument(
        "release",
        type=environment.make_uri,
        help="URI of the release: <output uri>/<name>/releases/<run id>",
    )
    rollback = add_verb(
        "rollback",
        releases.roll_back,
        "Make the champion before the present one the champion again.",
    )
    prune = add_verb(
        "prune",
        releases.prune,
        "Delete old releases of a model, but never the champion or what its decision names.",
    )
    for command in (rollback, prune):
        command.add_argument("model", type=environment.make_uri, help=MODEL)
    prune.add_argument(
        "--keep",
        type=int,
        metavar="N",
        help="how many of the newest releases stay, in place of GRAFT_OUTPUT_KEEP",
    )
    prune.add_argument(
        "--dry-run", action="store_true", help="show what would be deleted, and delete nothing"
    )


def _add_help_verbs(add_verb: AddVerb, parser: argparse.ArgumentParser) -> None:
    init = add_verb("init", settings.init, "Write a commented file of settings to start from.")
    init.add_argument(
        "file",
        nargs="?",
        type=Path,
        default=Path("graft.env"),
        metavar="FILE",
        help="graft.env for --env-file (the default), or values.yaml for the chart",
    )
    complete = add_verb(
        "completion", completion.completion, "Print a script that completes words in a shell."
    )
    complete.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell")
    complete.set_defaults(parser=parser)


if __name__ == "__main__":
    sys.exit(entry())

"""argv -> verb -> exit code. The one place that reads the process: its arguments, environment, terminal and signals."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

# Before anything can import TensorFlow: its C++ log is for its developers.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# The process that only watches keeps whatever is imported here, so other rooms are imported where
# they are used.
from job import console, result, supervision
from job.errors import JobError, SettingsError
from job.result import Result

if TYPE_CHECKING:
    from job.launcher import Cluster
    from job.settings import Settings
    from job.workers import Stop
logger = logging.getLogger(__name__)
Verb = Callable[[argparse.Namespace], int]


def entry() -> int:
    """`graft` as a command: `main` in a process of its own, watched by this one."""
    return supervision.supervise(main, _end_unfinished)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb of `graft`; see `graft --help`."""
    from job import telemetry

    telemetry.configure_logs(sys.stderr, sys.stderr.isatty())
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.verb(arguments))
    except JobError as error:
        console.tell(str(error), logging.ERROR)
        return error.exit_code
    except BrokenPipeError:  # `graft plan | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = console.Parser(
        prog="graft",
        description="Transfer learning of image classifiers. Settings come from GRAFT_* variables: docs/settings.md.",
        epilog="Exit codes: 0 done, 1 a fault of Graft or a damaged release, 2 settings, 3 dataset, 4 weights, "
        "5 diverged, 6 below the gate, 75 try again.",
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def add(name: str, verb: Verb, summary: str) -> argparse.ArgumentParser:
        command = verbs.add_parser(name, help=summary, description=summary)
        command.set_defaults(verb=verb)
        return command

    add("run", _run, "Train a classifier and release it.")
    add(
        "check",
        _check,
        "Look at settings, bucket, weights, some images and the accelerator, before a GPU is spent.",
    )
    add(
        "plan",
        _plan,
        "Show the network, what would be retrained, why, and about how long it would take.",
    )
    add("settings", _settings, "Print every setting with its value, as JSON.")
    add("verify", _verify, "Check every file of a release against its manifest.").add_argument(
        "release", help=RELEASE
    )
    predict = add("predict", _predict, "Classify images with a release.")
    predict.add_argument("release", help=RELEASE)
    predict.add_argument("images", nargs="+", type=Path, help="image files")
    predict.add_argument("--top", type=int, default=3, help="classes to print for each image (3)")
    predict.add_argument("--json", action="store_true", help="print one JSON object a line")
    add(
        "promote",
        _promote,
        "Make a release the champion, whatever its scores; an earlier one is a roll-back.",
    ).add_argument("release", help="URI of the release: <output uri>/<name>/releases/<run id>")
    _add_cluster(add)
    return parser


def _add_cluster(add: Callable[[str, Verb, str], argparse.ArgumentParser]) -> None:
    """The verbs that speak to a Kubernetes cluster."""
    submit = add(
        "submit", _submit, "Start a run in a cluster, from an installed template or schedule."
    )
    submit.add_argument("name", help="the template's or schedule's name")
    submit.add_argument(
        "--set", action="append", default=[], type=_assignment, metavar="GRAFT_…=…", help=SET
    )
    submit.add_argument(
        "--key", help="who asks, such as a workflow's uid: the same key never starts a second run"
    )
    submit.add_argument(
        "--wait", action="store_true", help="follow the run; end with its result and its exit code"
    )
    submit.add_argument("--start-timeout", type=float, metavar="S", help=START_TIMEOUT)
    submit.add_argument(
        "--cancel-on-exit",
        action="store_true",
        help="with --wait: end the run if the wait ends first",
    )
    watch = add("watch", _watch, "Follow a run in a cluster to its end, and say what holds it up.")
    logs = add(
        "logs", _logs, "Print the log of a run in a cluster, from pod to pod, until it ends."
    )
    for command in (watch, logs):
        command.add_argument("run", help="the run's name: see `graft runs`")
    for command in (
        submit,
        watch,
        logs,
        add("runs", _runs, "List the runs of a cluster with what came out of them."),
    ):
        command.add_argument(
            "--namespace", help="default: that of the kubeconfig's context, or the pod's own"
        )


def _assignment(text: str) -> tuple[str, str]:
    from job import settings

    name, equals, value = text.partition("=")
    if not equals or not name.startswith(settings.PREFIX):
        raise argparse.ArgumentTypeError(f"expected {settings.PREFIX}…=…, got {text!r}")
    return name, value


RELEASE = "URI of a release, or of a model, which means its champion"
SET = "a setting in place of the template's own; may be given many times"
START_TIMEOUT = "with --wait: give up (75) if no pod has started after S seconds"


def _run(_: argparse.Namespace) -> int:
    from job.workers import Stop

    stop = Stop()
    stop.install()
    try:
        outcome = _watched(_load_settings(), stop)
    except BaseException as error:  # noqa: BLE001 - whatever happens, whoever started the run gets a result.
        outcome = _failed(error, stop)
    stop.ignore()
    return _end_run(outcome)


def _end_run(outcome: Result) -> int:
    terminal = sys.stderr.isatty()
    result.write(outcome, _result_path(), None if terminal else sys.stderr)
    if terminal:
        print(outcome.summary())
    return outcome.exit_code


def _watched(chosen: "Settings", stop: "Stop") -> Result:
    """The run, with its outcome told to those who watch before they lose it from sight."""
    from job import pipeline, telemetry
    from job.workers import WorkerGroup

    worker_group, terminal = (
        WorkerGroup.parse(os.environ.get("TF_CONFIG", "")),
        sys.stderr if sys.stderr.isatty() else None,
    )
    with telemetry.serve(chosen.telemetry, chosen.name, pipeline.PHASES, terminal) as watcher:
        try:
            outcome = pipeline.run(
                chosen, pipeline.RunContext(watcher, stop, _keras_home(), worker_group)
            )
        except BaseException as error:  # noqa: BLE001
            outcome = _failed(error, stop)
        outcome = replace(outcome, seconds=watcher.seconds)
        watcher.outcome(outcome.as_dict())
    return outcome


def _failed(error: BaseException, stop: "Stop") -> Result:
    error = stop.explained(error)
    if not isinstance(error, JobError | KeyboardInterrupt):
        logger.exception("Graft failed")
    return result.failed(error, run_id=getattr(error, "run_id", None))


def _end_unfinished(ending: supervision.Ending) -> int:
    """Say what became of the process that died at its work, with the result that it owes."""
    from job import telemetry

    telemetry.configure_logs(sys.stderr, sys.stderr.isatty())
    if sys.argv[1:2] == ["run"]:
        return _end_run(ending.outcome)
    if sys.argv[1:2] == ["submit"] and "--wait" in sys.argv:
        return _end_wait(ending.outcome)
    if ending.signal:
        console.tell(f"{ending.how}.", logging.ERROR)
    return ending.code or 1


def _check(_: argparse.Namespace) -> int:
    chosen, code = _load_settings(), 0
    from job.pipeline import rehearsal

    for finding in rehearsal.check(chosen, _keras_home()):
        print(
            f"{'ok    ' if finding.error is None else 'FAILED'}  {finding.what:<12}{finding.told}",
            flush=True,
        )
        code = code or (finding.error.exit_code if finding.error else 0)
    failed = f"A run would end with exit code {code}: mend what failed."
    print(failed if code else "Ready: nothing speaks against a run.")
    return code


def _plan(_: argparse.Namespace) -> int:
    chosen = _load_settings()
    from job.pipeline import rehearsal

    print(rehearsal.plan(chosen, _keras_home()))
    return 0


def _settings(_: argparse.Namespace) -> int:
    print(json.dumps(_load_settings().values(), indent=2))
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from job import publish

    verified = publish.verify(arguments.release)
    print(
        f"{verified.store.uri}: {len(verified.manifest.files)} files, {verified.bytes:,} bytes, all as released."
    )
    return 0


def _predict(arguments: argparse.Namespace) -> int:
    from job import publish

    code = 0
    for row in publish.predict(arguments.release, arguments.images, _cache_dir(), arguments.top):
        code = code or (3 if row.error else 0)
        if arguments.json:
            print(
                json.dumps(
                    {"image": str(row.image), "top": dict(row.top), "error": row.error or None}
                )
            )
        else:
            print(
                f"{row.image}: "
                + (row.error or ", ".join(f"{name} {share:.1%}" for name, share in row.top))
            )
    return code


def _promote(arguments: argparse.Namespace) -> int:
    from job import publish

    print(f"{publish.promote_manually(arguments.release)} is the champion.")
    return 0


def _submit(arguments: argparse.Namespace) -> int:
    if not arguments.wait:
        if arguments.cancel_on_exit or arguments.start_timeout is not None:
            raise SettingsError(
                "--start-timeout and --cancel-on-exit belong to a wait.", "Add --wait."
            )
        console.say(_submitted(_cluster(arguments), arguments))
        return 0
    from job.workers import Stop

    stop = Stop()
    stop.install()
    try:
        outcome = _awaited(arguments)
    except BaseException as error:  # noqa: BLE001 - whatever happens, whoever waits gets a result.
        outcome = _failed(error, stop)
    stop.ignore()
    return _end_wait(outcome)


def _end_wait(outcome: Result) -> int:
    console.tell(outcome.summary())
    result.write(outcome, _result_path(), sys.stdout)
    return outcome.exit_code


def _awaited(arguments: argparse.Namespace) -> Result:
    from job import launcher

    cluster = _cluster(arguments)
    run, patience = _submitted(cluster, arguments), arguments.start_timeout
    return launcher.watch(
        cluster, run, console.tell, start_timeout=patience, cancel=arguments.cancel_on_exit
    )


def _submitted(cluster: "Cluster", arguments: argparse.Namespace) -> str:
    """The name of the run that was started or, under the same key, found."""
    from job import launcher

    submitted = launcher.submit(cluster, arguments.name, dict(arguments.set), arguments.key)
    console.tell(
        f"{submitted.name} {'was there already' if submitted.attached else 'is submitted'}"
    )
    if submitted.differs:
        console.tell(
            f"it keeps its own {', '.join(submitted.differs)}: take another --key for a run with other settings"
        )
    return submitted.name


def _watch(arguments: argparse.Namespace) -> int:
    from job import launcher

    outcome = launcher.watch(_cluster(arguments), arguments.run, console.say)
    console.say(outcome.summary())
    return outcome.exit_code


def _logs(arguments: argparse.Namespace) -> int:
    from job import launcher

    for line in launcher.follow_logs(_cluster(arguments), arguments.run):
        console.say(line)
    return 0


def _runs(arguments: argparse.Namespace) -> int:
    from job import launcher

    print(launcher.format_table(launcher.list_runs(_cluster(arguments))))
    return 0


def _cluster(arguments: argparse.Namespace) -> "Cluster":
    from job import launcher

    return launcher.connect(arguments.namespace, os.environ.get("KUBECONFIG"))


def _result_path() -> Path | None:
    """Read by hand, since settings that cannot work have a result too."""
    return Path(path) if (path := os.environ.get("GRAFT_RESULT_PATH")) else None


def _load_settings() -> "Settings":
    from job import settings

    return settings.load()


def _keras_home() -> Path:
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()


def _cache_dir() -> Path:
    from job import settings

    given = {"dir": value} if (value := os.environ.get("GRAFT_CACHE_DIR")) else {}
    return settings.CacheSettings.model_validate(given).dir


if __name__ == "__main__":
    sys.exit(entry())

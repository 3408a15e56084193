"""How a verb that stands for a whole run ends: with a result, whatever happens."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from job import console, result
from job.commands.environment import find_result_path
from job.errors import JobError, SettingsError
from job.result import Result

if TYPE_CHECKING:
    from job.workers import Stop

logger = logging.getLogger(__name__)


def run_until_result(work: Callable[["Stop"], Result]) -> Result:
    """Do some work that SIGTERM can stop. Every end of it, good or bad, is a result."""
    from job.workers import Stop

    stop = Stop()
    stop.install()
    try:
        outcome = work(stop)
    except BaseException as raised:  # noqa: BLE001 - the caller is owed a result, whatever happened
        error = stop.explain(raised)
        outcome = result.failed(error)
        log_error(error, outcome)
    stop.ignore()
    return outcome


def log_error(error: BaseException, outcome: Result) -> None:
    """Log the error that ended a run, with its traceback if it is a fault of Graft."""
    if isinstance(error, JobError | KeyboardInterrupt):
        log_failure(outcome)
    else:
        logger.error("Graft failed", exc_info=error)


def log_failure(outcome: Result) -> None:
    """Log why a run failed or was interrupted. On a terminal the summary says it."""
    failure = outcome.error
    if failure is None or sys.stderr.isatty():
        return
    fields = {
        "kind": failure.kind,
        "cure": failure.cure,
        "exit_code": failure.exit_code,
    }
    text = "\n".join([failure.message, *(f"  - {problem}" for problem in failure.problems)])
    level = logging.ERROR if outcome.status == "failed" else logging.WARNING
    logger.log(level, "%s", text, extra={"fields": fields})


def report_run(outcome: Result, path: Path | None) -> int:
    """Report the result of `run`: a summary to a person, else the last line of the log.

    Args:
        outcome: how the run ended.
        path: file of GRAFT_RESULT_PATH.
    """
    terminal = sys.stderr.isatty()
    result.write(outcome, path, None if terminal else sys.stderr, logged=True)
    if terminal:
        try:
            print(outcome.summary(), flush=True)
        except (OSError, console.AnswerLost) as error:
            # The outcome is known, whoever reads of it.
            console.give_up_stdout()
            logger.warning("%s", error)
    return outcome.exit_code


def report_usage_error(message: str, words: Sequence[str]) -> None:
    """Write the result that a run owes also if its command line cannot be understood.

    Args:
        message: why it cannot. A person has read it already.
        words: the command line after `graft`.
    """
    path = find_result_path(os.environ)
    outcome = result.failed(
        SettingsError(
            message, "`graft --help` lists the verbs, and `graft VERB --help` shows what one takes."
        )
    )
    if words[:1] == ["run"]:
        terminal = sys.stderr.isatty()
        result.write(outcome, path, None if terminal else sys.stderr, logged=True)
    elif words[:1] == ["submit"] and "--wait" in words:
        result.write(outcome, path, sys.stdout)


def report_wait(outcome: Result, path: Path | None) -> int:
    """Report the result of `submit --wait`: it is the answer, so it goes to stdout."""
    console.print_note(outcome.summary())
    try:
        result.write(outcome, path, sys.stdout)
    except console.AnswerLost as error:
        console.give_up_stdout()
        logger.warning("%s", error)
    return outcome.exit_code

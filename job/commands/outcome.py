"""How a verb that stands for a whole run ends: with a result, whatever happens."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from job import console, result
from job.errors import JobError
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
    except BaseException as error:  # noqa: BLE001 - the caller is owed a result, whatever happened
        outcome = describe_failure(error, stop)
    stop.ignore()
    return outcome


def describe_failure(error: BaseException, stop: "Stop") -> Result:
    """The result of a run that ended with an error."""
    error = stop.explain(error)
    if not isinstance(error, JobError | KeyboardInterrupt):
        logger.error("Graft failed", exc_info=error)
    return result.failed(error, run_id=getattr(error, "run_id", None))


def report_run(outcome: Result) -> int:
    """Report the result of `run`: a summary to a person, else the last line of the log."""
    terminal = sys.stderr.isatty()
    result.write(outcome, _result_path(), None if terminal else sys.stderr)
    if terminal:
        try:
            print(outcome.summary(), flush=True)
        except (OSError, console.AnswerLost) as error:
            # The outcome is known, whoever reads of it.
            console.give_up_stdout()
            logger.warning("%s", error)
    return outcome.exit_code


def report_wait(outcome: Result) -> int:
    """Report the result of `submit --wait`: it is the answer, so it goes to stdout."""
    console.print_note(outcome.summary())
    try:
        result.write(outcome, _result_path(), sys.stdout)
    except console.AnswerLost as error:
        console.give_up_stdout()
        logger.warning("%s", error)
    return outcome.exit_code


def _result_path() -> Path | None:
    # Read by hand, since settings that cannot work have a result too.
    path = os.environ.get("GRAFT_RESULT_PATH")
    return Path(path) if path else None

"""What the parsers of several verbs share."""

import argparse
from collections.abc import Callable

Verb = Callable[[argparse.Namespace], int]
AddVerb = Callable[[str, Verb, str], argparse.ArgumentParser]


def add_assignments(command: argparse.ArgumentParser, summary: str) -> None:
    """Let a verb take settings by their names: `--set training.epochs=5`."""
    command.add_argument(
        "--set",
        action="append",
        default=[],
        type=_parse_assignment,
        metavar="NAME=VALUE",
        help=summary,
    )


def parse_count(text: str) -> int:
    """A number from 1 on.

    Raises:
        ArgumentTypeError: it is not one.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, got {text!r}")
    return int(text)


def _parse_assignment(text: str) -> tuple[str, str]:
    from job.settings import parse_assignment

    try:
        return parse_assignment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error

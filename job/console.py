"""What the command prints: the answer to stdout, notes to a person or as records of the log."""

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

logger = logging.getLogger(__name__)


class Parser(argparse.ArgumentParser):
    """Reports a usage error like every other error."""

    def error(self, message: str) -> NoReturn:
        print_note(f"{self.format_usage()}{self.prog}: error: {message}", logging.ERROR)
        sys.exit(2)


class VersionAction(argparse.Action):
    """Prints the version of the installed package. It is looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version

        try:
            text = version("graft")
        except PackageNotFoundError:
            text = "of a checkout that is not installed"
        print(f"graft {text}")
        parser.exit()


class VerbParser(Parser):
    """Takes the words of a verb in any order: `run photos --set seed=3 models` too."""

    _intermixed = False

    def parse_known_args(  # type: ignore[override]  # the overloads of the base class say the same
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As the base class does it, but with options between positional arguments."""
        if self._intermixed:  # the call below comes back here
            return super().parse_known_args(args, namespace)
        self._intermixed = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._intermixed = False


def print_answer(line: str) -> None:
    """Print a part of the answer at once."""
    print(line, flush=True)


def print_note(text: str, level: int = logging.INFO) -> None:
    """Print something beside the answer. In a container it is a record of the log."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)
    else:
        logger.log(level, "%s", text)

"""What the command prints: the answer to stdout, notes to a person or as records of the log."""

import argparse
import io
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

logger = logging.getLogger(__name__)

# Control characters, but for the end of a line and tabs. Then marks of the direction of writing,
# and separators that some programs take for the end of a line.
STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class UsageError(SystemExit):
    """The command line cannot be understood. It has been said why.

    Attributes:
        message: why.
    """

    def __init__(self, message: str) -> None:
        super().__init__(2)
        self.message = message


class Parser(argparse.ArgumentParser):
    """Reports a usage error like every other error."""

    def error(self, message: str) -> NoReturn:
        print_note(f"{self.format_usage()}{self.prog}: error: {message}", logging.ERROR)
        raise UsageError(f"{self.prog}: {message}")


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


class AnswerLost(Exception):
    """The answer cannot be written to stdout, such as to a full disk."""


def escape(text: str) -> str:
    """A text in which nothing steers a terminal.

    Names of files and classes come from strangers. They may hold what moves the cursor, sets the
    clipboard or turns the direction of writing. Lines and tabs stay.
    """
    return STEERING.sub(_escape_character, text)


def escape_name(name: str) -> str:
    """A name that also begins no line and no column of its own."""
    return escape(name).replace("\n", "\\n").replace("\t", "\\t")


def _escape_character(match: re.Match[str]) -> str:
    # As JSON does it, so that JSON stays JSON.
    return f"\\u{ord(match[0]):04x}"


class WatchedStdout(io.TextIOWrapper):
    """Stdout: nothing on it steers a terminal, and its failures are told apart from others."""

    def write(self, text: str) -> int:
        with _translate_failure():
            return super().write(escape(text))

    def flush(self) -> None:
        with _translate_failure():
            super().flush()


@contextmanager
def _translate_failure() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise AnswerLost(f"The answer cannot be written to stdout: {error.strerror}.") from error


def watch_stdout() -> None:
    """Have stdout raise `AnswerLost`. What is no plain file of this process stays as it is."""
    if type(sys.stdout) is io.TextIOWrapper and sys.stdout is sys.__stdout__:
        terminal, encoding = sys.stdout.isatty(), sys.stdout.encoding
        sys.stdout = WatchedStdout(
            sys.stdout.detach(), encoding, "backslashreplace", line_buffering=terminal
        )


def finish_answer(code: int) -> int:
    """Write what is left of the answer. The exit code of a run stays, whoever reads its summary.

    Raises:
        AnswerLost, BrokenPipeError: it cannot be written.
    """
    sys.stdout.flush()
    return code


def give_up_stdout() -> None:
    """Let nothing more be written to stdout, not even by the end of the interpreter."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_answer(line: str) -> None:
    """Print a part of the answer at once."""
    print(line, flush=True)


def print_note(text: str, level: int = logging.INFO) -> None:
    """Print something beside the answer. In a container it is a record of the log."""
    if sys.stderr.isatty():
        print(escape(text), file=sys.stderr, flush=True)
    else:
        logger.log(level, "%s", text)

"""What the command prints: the answer to stdout, notes to a person or as records of the log."""

import argparse
import logging
import sys
from typing import NoReturn

logger = logging.getLogger(__name__)


class Parser(argparse.ArgumentParser):
    """Reports a usage error like every other error."""

    def error(self, message: str) -> NoReturn:
        print_note(f"{self.format_usage()}{self.prog}: error: {message}", logging.ERROR)
        sys.exit(2)


def print_answer(line: str) -> None:
    """Print a part of the answer at once."""
    print(line, flush=True)


def print_note(text: str, level: int = logging.INFO) -> None:
    """Print something beside the answer. In a container it is a record of the log."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)
    else:
        logger.log(level, "%s", text)

"""What the command says: to a person as it is, in a container as a record of the log."""

import argparse
import logging
import sys
from typing import NoReturn

logger = logging.getLogger(__name__)


class Parser(argparse.ArgumentParser):
    """A usage error is reported like every other error."""

    def error(self, message: str) -> NoReturn:
        tell(f"{self.format_usage()}{self.prog}: error: {message}", logging.ERROR)
        sys.exit(2)


def say(line: str) -> None:
    """Give a part of the answer, at once."""
    print(line, flush=True)


def tell(text: str, level: int = logging.INFO) -> None:
    """Say something beside the answer."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)
    else:
        logger.log(level, "%s", text)

"""Write generated files, or check that they are fresh: what every generator ends with."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from tools.paths import ROOT


def write_or_check(files: Iterable[tuple[Path, str]], source: str, description: str | None) -> None:
    """Write the files or, with `--check` on the command line, compare them.

    Args:
        files: each with its text. One that is rendered late may depend on those before it.
        source: what the text follows from, for the message.
        description: of the command, for its help.

    Raises:
        SystemExit: a file is stale.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="only compare")
    check = parser.parse_args().check
    for path, text in files:
        if not check:
            path.write_text(text)
        elif not path.is_file() or path.read_text() != text:
            raise SystemExit(
                f"{path.relative_to(ROOT)} is not what {source} says. Run `make generate`."
            )

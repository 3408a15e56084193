"""Keeps the working directory off the import path: a `random.py` there is not Python's.

This is the first thing that the command imports, so it needs nothing that is not loaded already.
"""

import os
import sys

# The folder that this package is imported from.
SOURCES = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def forget_working_directory() -> None:
    """Import nothing from the working directory, unless this package itself is there.

    `python -m` puts it first. An empty entry of PYTHONPATH means it too, and `$PYTHONPATH:/lib` has
    one where the variable was not set. What follows the standard library stays: somebody may be in
    the folder where the packages are installed.
    """
    here = _find_working_directory()
    if here == SOURCES:
        return
    kept: list[str] = []
    standard, is_before = os.path.dirname(os.__file__), True
    for entry in sys.path:
        is_before = is_before and entry != standard
        if not (is_before and _leads_to(entry, here)):
            kept.append(entry)
    sys.path[:] = kept


def keep_children_away() -> None:
    """Have the processes that this one starts import nothing from there either."""
    os.environ["PYTHONSAFEPATH"] = "1"
    here, given = _find_working_directory(), os.environ.get("PYTHONPATH")
    if given is None or here == SOURCES:
        return
    kept = [entry for entry in given.split(os.pathsep) if not _leads_to(entry, here)]
    os.environ["PYTHONPATH"] = os.pathsep.join(kept)


def _find_working_directory() -> str:
    """Where this process is. Empty if that folder was removed."""
    try:
        return os.path.realpath(os.getcwd())
    except FileNotFoundError:
        return ""


def _leads_to(entry: str, here: str) -> bool:
    if not entry:
        return True
    if not here:  # a relative entry leads nowhere
        return not os.path.isabs(entry)
    return os.path.realpath(entry) == here

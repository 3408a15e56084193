"""What a process inherits that could make the run another one, or stop it: settled at its start."""

import os
import sys
import tempfile
import warnings
from pathlib import Path

from job import import_path

# The folder that this package is imported from.
SOURCES = Path(import_path.SOURCES)


def settle_surroundings() -> tuple[str, ...]:
    """Settle descriptors, import path, warnings and home. Call it before any thread is started.

    Returns:
        A sentence for each thing that was not taken as it was given.
    """
    _open_closed_streams()
    import_path.forget_working_directory()
    import_path.keep_children_away()
    return (*_tame_warnings(), *_choose_keras_backend(), *_ensure_home())


def _open_closed_streams() -> None:
    """Give the descriptors 0 to 2 to /dev/null where the parent process has closed them.

    Else the next file that is opened would get one of them, and what native code writes to stderr
    would end up in that file.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is the one that is missing.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))


def _tame_warnings() -> tuple[str, ...]:
    """Let no warning of a library be an error: what it warns of still works."""
    if not any(rule[0] == "error" for rule in warnings.filters):
        return ()
    warnings.resetwarnings()
    warnings.simplefilter("default")
    # The processes that this one starts inherit both.
    os.environ.pop("PYTHONWARNINGS", None)
    sys.warnoptions.clear()
    return ("Warnings are not errors here, whatever PYTHONWARNINGS or -W says.",)


def _choose_keras_backend() -> tuple[str, ...]:
    given = os.environ.get("KERAS_BACKEND", "")
    # It also wins over the backend in somebody's keras.json.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if given in ("", "tensorflow"):
        return ()
    return (f"KERAS_BACKEND={given} is not used: Graft trains with TensorFlow.",)


def _ensure_home() -> tuple[str, ...]:
    """Have a home folder: a user id that the image does not know has none."""
    try:
        Path.home()
    except RuntimeError:
        folder = tempfile.gettempdir()
        os.environ["HOME"] = folder
        return (f"There is no home folder (HOME is not set): {folder} is taken for it.",)
    return ()

"""How a process imports TensorFlow: without what takes time and serves nothing here."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def leave_out_unused() -> None:
    """Import no scikit-learn in this process. Keras does where it is installed, for its wrappers.

    That takes a quarter of TensorFlow's start, and nothing here uses them.
    """
    if "sklearn" not in sys.modules:
        # An import of it fails now, as where it is not installed.
        sys.modules["sklearn"] = None  # type: ignore[assignment]  # as `import` documents it


@contextmanager
def import_large_packages() -> Iterator[None]:
    """Collect no garbage while packages are imported in this block.

    Their objects stay, and the collector would look at all of them again and again: a fifth of
    TensorFlow's start.
    """
    is_collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_collecting:
            gc.enable()

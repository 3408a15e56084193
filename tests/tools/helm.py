"""Build Helm 3 and Helm 4 from their pinned Go modules, once a machine: about six minutes on two cores.

    python -m tests.tools.helm [3] [4]

The binaries lie outside the checkout, named after their version and their pinned modules, so that a changed pin is
another file. Whoever needs one calls `binary`, which builds it if it is not there.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.tools import cache

MODULES = Path(__file__).resolve().parent
CACHE = cache.CACHE / "bin"
MAJORS = (3, 4)


def binary(major: int) -> Path:
    """The path of Helm of this major version, built first if need be. Processes that ask at once build it once."""
    target = CACHE / f"helm-{version(major)}-{_pins(major)}"
    if target.exists():
        return target
    with cache.alone(CACHE / f"helm{major}.lock"):
        if not target.exists():
            _build(major, target)
    return target


def version(major: int) -> str:
    """The pinned version, with its v."""
    return _required(major, f"helm.sh/helm/v{major}")


def _required(major: int, module: str) -> str:
    pinned = re.search(rf"^\s*(?:require )?{re.escape(module)} (\S+)", _module_file(major).read_text(), re.MULTILINE)
    if not pinned:
        raise SystemExit(f"{_module_file(major)} pins no {module}.")
    return pinned[1]


def _module_file(major: int) -> Path:
    return MODULES / f"helm{major}" / "go.mod"


def _pins(major: int) -> str:
    return hashlib.sha256(_module_file(major).with_name("go.sum").read_bytes()).hexdigest()[:8]


def _build(major: int, target: Path) -> None:
    """Build beside the target and rename, so that a build cut off half-way leaves no binary."""
    if not shutil.which("go"):
        raise SystemExit("Building Helm needs Go 1.26 or newer: install it, or put `go` on the PATH.")
    part = target.with_suffix(f".{os.getpid()}.part")
    command = [
        "nice",
        "-n",
        "19",
        "go",
        "build",
        "-mod=readonly",
        "-trimpath",
        "-ldflags",
        _flags(major),
        "-o",
        str(part),
    ]
    subprocess.run(
        [*command, f"helm.sh/helm/v{major}/cmd/helm"],
        cwd=MODULES / f"helm{major}",
        env={**os.environ, "CGO_ENABLED": "0"},
        check=True,
    )
    part.rename(target)


def _flags(major: int) -> str:
    """What Helm's own Makefile sets: its version, and the Kubernetes that `helm template` pretends to speak to."""
    package = f"helm.sh/helm/v{major}"
    minor = _required(major, "k8s.io/client-go").split(".")[1]
    names = {f"{package}/internal/version.version": version(major)}
    for holder in KUBERNETES_VERSION[major]:
        names |= {f"{package}/{holder}.k8sVersionMajor": "1", f"{package}/{holder}.k8sVersionMinor": minor}
    return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in names.items())])


# Helm 4 reads it from its own build information.
KUBERNETES_VERSION = {3: ("pkg/chartutil", "pkg/lint/rules"), 4: ()}


if __name__ == "__main__":
    for wanted in map(int, sys.argv[1:] or MAJORS):
        print(binary(wanted))

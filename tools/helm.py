"""Helm 3 and Helm 4: that of the PATH if its major version fits, else from its Go module.

python -m tools.helm

A build takes about six minutes on two cores for both, once on each machine.
"""

import functools
import shutil
import subprocess
from pathlib import Path

from tools import go
from tools.paths import PROGRAMS

MAJORS = (3, 4)
# Where Helm 3 keeps the Kubernetes version that it renders for. Helm 4 reads it from its build
# information.
KUBERNETES_VERSION = {3: ("pkg/chartutil", "pkg/lint/rules"), 4: ()}


@functools.cache
def binary(major: int) -> Path:
    """The path of a Helm of this major version, built first if need be."""
    on_path = shutil.which("helm")
    if on_path and _read_version(on_path).startswith(f"v{major}."):
        return Path(on_path)
    return go.program(
        _module_folder(major), f"helm.sh/helm/v{major}/cmd/helm", _linker_flags(major)
    )


def _read_version(program: str) -> str:
    """What the program says of itself, such as v3.18.4; empty where it does not work."""
    command = [program, "version", "--template", "{{.Version}}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _module_folder(major: int) -> Path:
    return PROGRAMS / f"helm{major}"


def _linker_flags(major: int) -> str:
    """What Helm's own Makefile sets: its version, and that of Kubernetes."""
    package, module = f"helm.sh/helm/v{major}", _module_folder(major)
    minor = go.pinned(module, "k8s.io/client-go").split(".")[1]
    names = {f"{package}/internal/version.version": go.pinned(module, package)}
    for holder in KUBERNETES_VERSION[major]:
        names[f"{package}/{holder}.k8sVersionMajor"] = "1"
        names[f"{package}/{holder}.k8sVersionMinor"] = minor
    return " ".join(f"-X {name}={value}" for name, value in names.items())


if __name__ == "__main__":
    for wanted in MAJORS:
        print(binary(wanted))

"""Helm 3 and Helm 4 from their pinned Go modules: about six minutes on two cores, once a machine.

python -m tools.helm
"""

from pathlib import Path

from tools import go
from tools.paths import PROGRAMS

MAJORS = (3, 4)
# Where Helm 3 keeps the Kubernetes that it pretends to speak to; Helm 4 reads it from its build
# information.
KUBERNETES_VERSION = {3: ("pkg/chartutil", "pkg/lint/rules"), 4: ()}


def binary(major: int) -> Path:
    """The path of Helm of this major version, built first if need be."""
    return go.program(_module(major), f"helm.sh/helm/v{major}/cmd/helm", _flags(major))


def _module(major: int) -> Path:
    return PROGRAMS / f"helm{major}"


def _flags(major: int) -> str:
    """What Helm's own Makefile sets: its version, and that of Kubernetes."""
    package, module = f"helm.sh/helm/v{major}", _module(major)
    minor = go.pinned(module, "k8s.io/client-go").split(".")[1]
    names = {f"{package}/internal/version.version": go.pinned(module, package)}
    for holder in KUBERNETES_VERSION[major]:
        names |= {
            f"{package}/{holder}.k8sVersionMajor": "1",
            f"{package}/{holder}.k8sVersionMinor": minor,
        }
    return " ".join(f"-X {name}={value}" for name, value in names.items())


if __name__ == "__main__":
    for wanted in MAJORS:
        print(binary(wanted))

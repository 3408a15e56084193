"""The cluster's programs, built from their Go modules once for each state of the pins."""

import functools
from pathlib import Path

from tools import go
from tools.cache import alone
from tools.cluster.layout import CACHE
from tools.paths import PROGRAMS

PARTS = (
    "coredns",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)


@functools.cache
def build() -> Path:
    """Return the folder with every program; a build takes a quarter of an hour on two cores."""
    kubernetes, store = go.program(PROGRAMS / "kubernetes", flags=_version_flags()), versitygw()
    folder = CACHE / f"programs-{kubernetes.name.rpartition('-')[2]}"
    with alone(CACHE / "build.lock"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, program in {"versitygw": store, **dict.fromkeys(PARTS, kubernetes)}.items():
            link = folder / name
            if not link.is_symlink() or link.readlink() != program:
                link.unlink(missing_ok=True)
                link.symlink_to(program)
    return folder


def versitygw() -> Path:
    """The S3 server."""
    return go.program(PROGRAMS / "store", "github.com/versity/versitygw/cmd/versitygw")


def _version_flags() -> str:
    """The linker flags with the version of Kubernetes: without them it calls itself v0.0.0."""
    version = go.pinned(PROGRAMS / "kubernetes", "k8s.io/kubernetes")
    major, minor, _ = version.removeprefix("v").split(".")
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    return " ".join(
        f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items()
    )

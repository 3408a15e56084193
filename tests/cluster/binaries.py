"""Build the cluster's programs from their Go modules, once for each state of the pins beside this file."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.cluster.layout import CACHE
from tests.tools.cache import alone

SOURCES = Path(__file__).parent
PROGRAMS = (
    "coredns",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)
STORE_PACKAGE = "github.com/versity/versitygw/cmd/versitygw"


def build() -> Path:
    """Return the folder with every program; built now (a quarter of an hour on two cores) if the pins have changed."""
    folder = CACHE / f"programs-{_digest()}"
    with alone(CACHE / "build.lock"):
        folder.mkdir(parents=True, exist_ok=True)
        _go_build(SOURCES / "kubernetes", ".", folder / "kubernetes", _version_flags())
        _go_build(SOURCES / "store", STORE_PACKAGE, folder / "versitygw")
        for program in PROGRAMS:
            if not (folder / program).is_symlink():
                (folder / program).symlink_to("kubernetes")
    return folder


def _digest() -> str:
    files = sorted(path for module in ("kubernetes", "store") for path in (SOURCES / module).iterdir())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def _version_flags() -> str:
    """Kubernetes says the version that it was linked with: without it, it would call itself v0.0.0."""
    match = re.search(r"k8s\.io/kubernetes (v(\d+)\.(\d+)\.\d+)", (SOURCES / "kubernetes" / "go.mod").read_text())
    if match is None:
        raise SystemExit("tests/cluster/kubernetes/go.mod pins no k8s.io/kubernetes")
    values = zip(("gitVersion", "gitMajor", "gitMinor"), match.groups(), strict=True)
    return " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values)


def _go_build(module: Path, package: str, binary: Path, flags: str = "") -> None:
    if binary.exists():
        return
    if shutil.which("go") is None:
        raise SystemExit("The cluster's programs are built from their Go modules: please install Go 1.26 or newer.")
    print(f"Building {binary.name} from its Go modules", flush=True)
    unfinished = binary.with_suffix(".new")
    subprocess.run(
        ["go", "build", "-mod=readonly", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", unfinished, package],
        cwd=module,
        env={**os.environ, "CGO_ENABLED": "0"},
        check=True,
    )
    unfinished.rename(binary)

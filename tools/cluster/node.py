"""Start the cluster and end it: at any time, in any state, any number of times."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tools.cache import alone
from tools.cluster import binaries, credentials, images, layout, programs, record, target
from tools.cluster.layout import CONFIG, HOST_ADDRESS, LINK, NETWORK, NODE, NODE_ADDRESS, STATE
from tools.cluster.locks import life
from tools.paths import ROOT

# Command and the Debian package that brings it.
NEEDED = {
    "busybox": "busybox-static",
    "catatonit": "catatonit",
    "conntrack": "conntrack",
    "containerd": "containerd",
    "ctr": "containerd",
    "ip": "iproute2",
    "iptables": "iptables",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "runc": "runc",
    "unshare": "util-linux",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}
T = TypeVar("T")
PATIENCE = 180.0  # seconds until the node is ready; on two idle cores it takes 20


def up() -> None:
    """Build what is missing, start what is not running, and return once the node is ready."""
    _refuse_what_cannot_work()
    folder = binaries.build()
    with alone(layout.CACHE / "change.lock"), life() as lock:
        if lock:
            _clear_remains()
            _prepare_folders()
            _start_supervisor(folder, lock)
        _connect_network(_wait_for("the supervisor", record.living))
        _wait_for("containerd", _import_own_images)
        _wait_for("a ready node", _is_ready)


def down() -> None:
    """End the cluster that was noted here, if it still runs, and remove all that it left."""
    with alone(layout.CACHE / "change.lock"):
        with life() as lock:
            if not lock:
                os.kill(_wait_for("the supervisor", record.living), signal.SIGKILL)
        _wait_for("the end of the supervisor", lambda: record.living() is None)
        _clear_remains()


def load(archive: Path) -> None:
    """Give the node the images of an archive, unless it already has those of this very file."""
    note, seen = (
        STATE / f"loaded-{archive.name}",
        f"{archive.resolve()} {archive.stat().st_mtime_ns}",
    )
    if note.exists() and note.read_text() == seen:
        return
    if problem := _import_archive(archive):
        raise SystemExit(f"The node did not take {archive}: {problem}")
    note.write_text(seen)


@contextmanager
def store_away() -> Iterator[None]:
    """Close the S3 server for a while: its port resets every connection, new or open."""
    rule = [
        "INPUT",
        "--protocol",
        "tcp",
        "--dport",
        "7070",
        "--jump",
        "REJECT",
        "--reject-with",
        "tcp-reset",
    ]
    inside = ["nsenter", f"--target={record.living()}", "--net", "iptables"]
    subprocess.run([*inside, "--insert", *rule], check=True)
    try:
        yield
    finally:
        subprocess.run([*inside, "--delete", *rule], check=True)


def _refuse_what_cannot_work() -> None:
    if sys.platform != "linux" or os.geteuid() != 0 or not layout.cgroups():
        raise SystemExit(
            "A cluster of our own needs Linux, root and cgroup v1. "
            "Elsewhere start one with kind, k3d or minikube, "
            "and run the cluster tests with GRAFT_TEST_KUBECONFIG=<its kubeconfig>."
        )
    missing = sorted(
        {package for command, package in NEEDED.items() if shutil.which(command) is None}
    )
    if missing:
        raise SystemExit(
            f"Please install:  apt-get install --no-install-recommends {' '.join(missing)}"
        )


def _prepare_folders() -> None:
    for folder in (CONFIG, layout.LIB, layout.LOGS, layout.BUCKETS):
        folder.mkdir(parents=True)
    credentials.write(CONFIG)
    programs.write_configuration()
    images.write(CONFIG)


def _start_supervisor(folder: Path, lock: int) -> None:
    """Start the supervisor in namespaces of its own; it records itself, should this process end."""
    namespaces = ["unshare", "--fork", "--pid", "--net", "--mount", "--propagation=private"]
    with (STATE / "supervisor.log").open("ab") as log:
        subprocess.Popen(
            [*namespaces, sys.executable, "-m", "tools.cluster.supervisor", folder, str(lock)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            start_new_session=True,
            pass_fds=[lock],
        )


def _connect_network(pid: int) -> None:
    """Connect this machine and the cluster; the link ends with the cluster's network namespace."""
    if not Path(f"/sys/class/net/{LINK}").exists():
        _call_ip(f"link add {LINK} type veth peer name uplink netns {pid}")
    _call_ip(f"address replace {HOST_ADDRESS}/30 dev {LINK}")
    _call_ip(f"link set {LINK} up")
    _call_ip(f"route replace {NETWORK} via {NODE_ADDRESS} dev {LINK}")


def _call_ip(line: str) -> None:
    subprocess.run(["ip", *line.split()], check=True)


def _import_own_images() -> bool:
    return not any(_import_archive(CONFIG / archive) for archive in ("pause.tar", "tools.tar"))


def _import_archive(archive: Path) -> str:
    """Hand one archive to containerd, inside its own namespaces; return what it had against it."""
    inside = ["nsenter", f"--target={record.living()}", "--mount", "--net"]
    command = [*inside, "ctr", "--namespace=k8s.io", "images", "import", str(archive.resolve())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"{done.returncode}: {done.stderr.strip()}" if done.returncode else ""


def _is_ready() -> bool:
    """Whether the node is ready and a pod would be let in: that takes a service account."""
    condition = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    node = _get_by_kubectl("node", NODE, "--output", condition)
    account = _get_by_kubectl("serviceaccount", "default", "--output=name")
    return node == "True" and account != ""


def _get_by_kubectl(*what: str) -> str:
    """Return what kubectl prints; nothing while there is nobody to answer."""
    return target.call("get", *what).stdout


def _wait_for(what: str, attempt: Callable[[], T | None]) -> T:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if outcome := attempt():
            return outcome
        time.sleep(0.5)
    raise SystemExit(f"Waited {PATIENCE:.0f} s in vain for {what}; the logs are in {STATE}")


def _clear_remains() -> None:
    """Remove what a cluster that no longer runs has left: its link, empty cgroups and files."""
    subprocess.run(["ip", "link", "delete", LINK], stderr=subprocess.DEVNULL, check=False)
    _wait_for("empty cgroups", _remove_cgroups)
    if STATE.exists():
        shutil.rmtree(STATE)


def _remove_cgroups() -> bool:
    """Remove the cluster's cgroups, innermost first; False while a process still holds one."""
    try:
        for root in layout.cgroups():
            for folder, _, _ in os.walk(root, topdown=False):
                Path(folder).rmdir()
    except OSError:
        return False
    return True

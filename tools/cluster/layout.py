"""The folders, addresses and names of the cluster. Nothing else of this machine is touched.

The supervisor's own mount namespace hides /run, /var/lib and /var/log behind folders of `STATE`, so
that every program can use its usual paths there; `STATE` and one cgroup a controller are all that a
cluster can leave behind.
"""

from pathlib import Path

from tools import cache

CACHE = cache.CACHE / "cluster"
STATE = CACHE / "state"

RECORD = STATE / "supervisor.json"
KUBECONFIG = STATE / "kubeconfig"
CONFIG = STATE / "config"
LIB = STATE / "lib"
LOGS = STATE / "log"
BUCKETS = STATE / "buckets"

NAME = "graft-cluster"
LINK = "graft-cluster0"  # the host's end of the only wire into the cluster
NODE = "graft"

NETWORK = "10.213.0.0/16"
HOST_ADDRESS = "10.213.0.1"
NODE_ADDRESS = "10.213.0.2"
PODS = "10.213.128.0/18"
SERVICES = "10.213.64.0/20"
API_SERVICE = "10.213.64.1"
API_SERVER = f"https://{NODE_ADDRESS}:6443"

S3 = f"http://{NODE_ADDRESS}:7070"
S3_ACCESS_KEY = "graft-cluster"
S3_SECRET_KEY = "graft-cluster-secret"
S3_REGION = "us-east-1"

# Where a registry of the tests listens on this machine: the node pulls from it without TLS.
REGISTRY = f"{HOST_ADDRESS}:5000"

PAUSE_IMAGE = "graft.local/pause:1"
TOOLS_IMAGE = "graft.local/tools:1"


def cgroups() -> tuple[Path, ...]:
    """Return the cluster's cgroup under each controller; it need not exist."""
    controllers = [
        line.split()[1]
        for line in Path("/proc/self/mounts").read_text().splitlines()
        if " cgroup " in line
    ]
    return tuple(Path(controller) / NAME for controller in controllers)

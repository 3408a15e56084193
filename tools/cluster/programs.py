"""The programs of the node: their configuration files and their command lines."""

import json
from pathlib import Path
from typing import Any

from tools.cluster import layout
from tools.cluster.layout import CONFIG, NODE, NODE_ADDRESS

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"


def write_configuration() -> None:
    """Write the configuration files of the programs; JSON where YAML is expected, which it is."""
    (CONFIG / "cni").mkdir(exist_ok=True)
    (CONFIG / "containerd.toml").write_text(_containerd_configuration())
    registry = CONFIG / "registries" / layout.REGISTRY
    registry.mkdir(parents=True, exist_ok=True)
    # containerd 1.6 wants a host beside the server.
    address = f'"http://{layout.REGISTRY}"'
    (registry / "hosts.toml").write_text(f"server = {address}\n[host.{address}]\n")
    (CONFIG / "cni" / "graft.conflist").write_text(json.dumps(_pod_network_configuration()))
    (CONFIG / "kubelet.json").write_text(json.dumps(_kubelet_configuration()))
    (CONFIG / "Corefile").write_text(_dns_configuration())
    (CONFIG / "resolv.conf").write_text("")  # nothing outside is ever asked


def command_lines(programs: Path) -> dict[str, list[str]]:
    """Return each program's command line; they wait for one another, in any order."""
    commands = {
        "containerd": ["containerd", f"--config={CONFIG}/containerd.toml"],
        "versitygw": _store_command(),
        "etcd": _etcd_command(),
        "kube-apiserver": _api_server_command(),
        "kube-controller-manager": _controller_manager_command(),
        "kube-scheduler": [
            "kube-scheduler",
            *_kubeconfig_option("kube-scheduler"),
            "--leader-elect=false",
        ],
        "kubelet": _kubelet_command(),
        "kube-proxy": _proxy_command(),
        "coredns": ["coredns", "-conf", f"{CONFIG}/Corefile"],
    }
    return {
        name: [str(programs / line[0]) if (programs / line[0]).exists() else line[0], *line[1:]]
        for name, line in commands.items()
    }


def _kubeconfig_option(name: str) -> list[str]:
    return [f"--kubeconfig={CONFIG}/{name}.kubeconfig"]


def _store_command() -> list[str]:
    return [
        "versitygw",
        f"--port={NODE_ADDRESS}:7070",
        f"--access={layout.S3_ACCESS_KEY}",
        f"--secret={layout.S3_SECRET_KEY}",
        f"--region={layout.S3_REGION}",
        "--health=/health",
        "--quiet",
        "posix",
        str(layout.BUCKETS),
    ]


def _etcd_command() -> list[str]:
    return [
        "etcd",
        "--data-dir=/var/lib/etcd",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",  # it outlives no reboot
    ]


def _api_server_command() -> list[str]:
    return [
        "kube-apiserver",
        "--etcd-servers=http://127.0.0.1:2379",
        f"--advertise-address={NODE_ADDRESS}",
        f"--service-cluster-ip-range={layout.SERVICES}",
        f"--tls-cert-file={CONFIG}/kube-apiserver.crt",
        f"--tls-private-key-file={CONFIG}/kube-apiserver.key",
        f"--client-ca-file={CONFIG}/ca.crt",
        f"--token-auth-file={CONFIG}/tokens.csv",
        f"--kubelet-client-certificate={CONFIG}/kubelet-client.crt",
        f"--kubelet-client-key={CONFIG}/kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={CONFIG}/service-account.key",
        f"--service-account-signing-key-file={CONFIG}/service-account.key",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
    ]


def _controller_manager_command() -> list[str]:
    return [
        "kube-controller-manager",
        *_kubeconfig_option("kube-controller-manager"),
        f"--root-ca-file={CONFIG}/ca.crt",
        f"--service-account-private-key-file={CONFIG}/service-account.key",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
    ]


def _kubelet_command() -> list[str]:
    return [
        "kubelet",
        *_kubeconfig_option("kubelet"),
        f"--config={CONFIG}/kubelet.json",
        f"--hostname-override={NODE}",
        f"--node-ip={NODE_ADDRESS}",
    ]


def _proxy_command() -> list[str]:
    return [
        "kube-proxy",
        *_kubeconfig_option("kube-proxy"),
        "--proxy-mode=iptables",
        f"--cluster-cidr={layout.PODS}",
        f"--hostname-override={NODE}",
        "--conntrack-max-per-core=0",  # that limit is the machine's, not the cluster's
    ]


def _containerd_configuration() -> str:
    return f"""
version = 2
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs"]
[grpc]
address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{layout.PAUSE_IMAGE}"
restrict_oom_score_adj = true  # root of a sandboxed machine may lack the right to lower it
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{CONFIG}/registries"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{CONFIG}/cni"
"""


def _pod_network_configuration() -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": layout.PODS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": "pods0",
        "isGateway": True,
        "hairpinMode": True,
        "ipam": addresses,
    }
    return {"cniVersion": "0.4.0", "name": "graft", "plugins": [bridge]}


def _kubelet_configuration() -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.NAME}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "authentication": {"x509": {"clientCAFile": f"{CONFIG}/ca.crt"}},
        "clusterDNS": [NODE_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": f"{CONFIG}/resolv.conf",
        "volumePluginDir": "/var/lib/kubelet/volumeplugins",
        # The disk is the machine's, and others fill it: neither an eviction nor a collected image
        # is to depend on them.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        # A mistaken pod is to be seen soon.
        "nodeStatusUpdateFrequency": "5s",
        "maxPods": 60,
    }


def _dns_configuration() -> str:
    """Two zones, since in one the template would answer before the cluster could."""
    return f"""
cluster.local:53 {{
  errors
  kubernetes cluster.local {{
    kubeconfig {CONFIG}/coredns.kubeconfig
    ttl 1
  }}
}}
.:53 {{
  template ANY ANY . {{
    rcode NXDOMAIN
  }}
}}
"""

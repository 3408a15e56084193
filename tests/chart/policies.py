"""Network policies as Kubernetes evaluates them: a selected pod is closed but for the rules."""

import ipaddress
from dataclasses import dataclass, field
from typing import Any

from tests.chart.rendering import Tree


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection: an address, or a pod with its labels and its namespace."""

    address: str = "203.0.113.7"
    pod: dict[str, str] = field(default_factory=dict)
    namespace: dict[str, str] | None = None


def allows(policy: Tree, direction: str, peer: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether the selected pods may be reached (`Ingress`) or may reach (`Egress`)."""
    spec = policy["spec"]
    if direction not in spec["policyTypes"]:
        return True
    end = {"Ingress": "from", "Egress": "to"}[direction]
    return any(
        _fits_a_port(rule.get("ports"), port, protocol) and _fits_a_peer(rule.get(end), peer)
        for rule in spec.get(direction.lower(), [])
    )


def selects(policy: Tree, labels: dict[str, str]) -> bool:
    """Whether the policy is about a pod with these labels."""
    return _matches(policy["spec"]["podSelector"], labels)


def _fits_a_port(ports: list[Tree] | None, port: int, protocol: str) -> bool:
    """No list, or an empty one, is every port."""
    return not ports or any(
        entry.get("protocol", "TCP") == protocol
        and entry["port"] <= port <= int(entry.get("endPort") or entry["port"])
        for entry in ports
    )


def _fits_a_peer(peers: list[Tree] | None, peer: Peer) -> bool:
    """No list, or an empty one, is everybody."""
    return not peers or any(_is(entry, peer) for entry in peers)


def _is(entry: Tree, peer: Peer) -> bool:
    if block := entry.get("ipBlock"):
        address = ipaddress.ip_address(peer.address)
        excepted = any(address in ipaddress.ip_network(inner) for inner in block.get("except", []))
        return address in ipaddress.ip_network(block["cidr"]) and not excepted
    if peer.namespace is None:
        return False
    return _matches(entry.get("namespaceSelector", {}), peer.namespace) and _matches(
        entry.get("podSelector", {}), peer.pod
    )


def _matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items()

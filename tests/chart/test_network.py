"""The network policy by what its rules let through, whether or not a cluster enforces them."""

import pytest

from tests.chart.policies import Peer, allows, selects
from tests.chart.rendering import LAUNCHES, Tree, only, pods, render

pytestmark = pytest.mark.chart

ANYWHERE = Peer()
AGENT = Peer(address="169.254.170.23")
METADATA = Peer(address="169.254.169.254")


def policy(values: Tree | None = None) -> Tree:
    return only(
        render(
            {
                **(values or {}),
                "networkPolicy": {"enabled": True, **(values or {}).get("networkPolicy", {})},
            }
        ),
        "NetworkPolicy",
    )


def test_there_is_none_unless_it_is_asked_for() -> None:
    assert "NetworkPolicy" not in {item["kind"] for item in render()}


@pytest.mark.parametrize("launch", LAUNCHES)
def test_it_is_about_every_pod_of_the_release_and_no_other(launch: str) -> None:
    objects = render({"launch": launch, "networkPolicy": {"enabled": True}})
    about = only(objects, "NetworkPolicy")
    assert all(selects(about, pod["metadata"]["labels"]) for pod in pods(objects))
    assert not selects(
        about, {"app.kubernetes.io/name": "graft", "app.kubernetes.io/instance": "another"}
    )


@pytest.mark.parametrize(
    ("port", "protocol", "open_"),
    [
        *(
            (53, "UDP", True),
            (53, "TCP", True),
            (5353, "UDP", True),
            (443, "TCP", True),
            (443, "UDP", False),
        ),
        *((port, "TCP", False) for port in (22, 80, 6443, 8000, 9000)),
    ],
)
def test_pods_reach_dns_and_https_alone(port: int, protocol: str, open_: bool) -> None:
    assert allows(policy(), "Egress", ANYWHERE, port, protocol) is open_


@pytest.mark.parametrize(
    ("values", "port"),
    [
        ({"store": {"endpoint": "http://minio.storage:9000"}}, 9000),
        ({"store": {"endpoint": "http://minio.storage"}}, 80),
        ({"proxy": {"https": "http://proxy.company:3128"}}, 3128),
        ({"settings": {"telemetry": {"push_url": "http://pushgateway:9091"}}}, 9091),
        ({"settings": {"telemetry": {"webhook_url": "https://me:pw@events:8443/hook"}}}, 8443),
        ({"settings": {"telemetry": {"webhook_url": "http://events/hook?of=1:2"}}}, 80),
    ],
)
def test_pods_reach_the_ports_of_the_addresses_in_the_values(values: Tree, port: int) -> None:
    assert allows(policy(values), "Egress", ANYWHERE, port)
    assert not allows(policy(), "Egress", ANYWHERE, port)
    assert allows(policy(values), "Egress", ANYWHERE, 443)


def test_the_agent_of_pod_identity_is_reached_when_it_is_in_use_and_nothing_beside_it() -> None:
    assert not allows(policy(), "Egress", AGENT, 80)
    with_agent = policy({"credentials": {"podIdentity": True}})
    assert allows(with_agent, "Egress", AGENT, 80)
    assert allows(with_agent, "Egress", Peer(address="fd00:ec2::23"), 80)
    assert not allows(with_agent, "Egress", Peer(address="fd00:ec2::254"), 80)
    assert not allows(with_agent, "Egress", METADATA, 80)
    assert not allows(with_agent, "Egress", AGENT, 22)


def test_more_ways_out_are_added_as_they_are_given() -> None:
    extra = {
        "to": [{"ipBlock": {"cidr": "10.1.0.0/16", "except": ["10.1.9.0/24"]}}],
        "ports": [{"port": 8443}],
    }
    wider = policy({"networkPolicy": {"extraEgress": [extra]}})
    assert allows(wider, "Egress", Peer("10.1.2.3"), 8443)
    assert not allows(wider, "Egress", Peer("10.1.9.3"), 8443)
    assert not allows(wider, "Egress", Peer("10.2.2.3"), 8443)


def test_pods_are_reached_at_the_metrics_port_alone() -> None:
    assert allows(policy(), "Ingress", ANYWHERE, 8000)
    assert not allows(policy(), "Ingress", ANYWHERE, 22)
    moved = policy({"settings": {"telemetry": {"port": 9100}}})
    assert allows(moved, "Ingress", ANYWHERE, 9100)
    assert not allows(moved, "Ingress", ANYWHERE, 8000)


def test_pods_that_serve_nothing_are_not_reached_at_all() -> None:
    silent = policy({"settings": {"telemetry": {"port": 0}}})
    assert not any(allows(silent, "Ingress", ANYWHERE, port) for port in (0, 80, 8000))


def test_metrics_may_be_kept_to_one_namespace() -> None:
    monitoring = {"kubernetes.io/metadata.name": "monitoring"}
    kept = policy(
        {"networkPolicy": {"metricsFrom": [{"namespaceSelector": {"matchLabels": monitoring}}]}}
    )
    assert allows(kept, "Ingress", Peer(namespace=monitoring), 8000)
    assert not allows(
        kept, "Ingress", Peer(namespace={"kubernetes.io/metadata.name": "default"}), 8000
    )
    assert not allows(kept, "Ingress", ANYWHERE, 8000)


@pytest.mark.parametrize("direction", ["Ingress", "Egress"])
@pytest.mark.parametrize("port", [2222, 49_152])
def test_workers_reach_each_other_at_every_port_and_nobody_else_does(
    direction: str, port: int
) -> None:
    objects = render({"workers": 2, "networkPolicy": {"enabled": True}})
    labels = next(pods(objects))["metadata"]["labels"]
    peer, stranger = (Peer(pod=pod, namespace={"any": "one"}) for pod in (labels, {"app": "other"}))
    several = only(objects, "NetworkPolicy")
    assert allows(several, direction, peer, port)
    assert not allows(several, direction, stranger, port)
    assert not allows(policy(), direction, peer, port)


def test_workers_that_serve_nothing_reach_each_other_all_the_same() -> None:
    silent = {
        "workers": 2,
        "settings": {"telemetry": {"port": 0}},
        "networkPolicy": {"enabled": True},
    }
    objects = render(silent)
    labels = next(pods(objects))["metadata"]["labels"]
    assert allows(only(objects, "NetworkPolicy"), "Ingress", Peer(pod=labels, namespace={}), 2222)
    assert not allows(only(objects, "NetworkPolicy"), "Ingress", ANYWHERE, 8000)

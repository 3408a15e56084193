"""Every example and pair of switches becomes objects that Kubernetes understands.

Under Helm 3 and Helm 4.
"""

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.kinds import faults
from tests.chart.rendering import (
    EXAMPLES,
    LEAST,
    Tree,
    environment,
    job,
    merged,
    pods,
    render,
    run_helm,
    training,
)
from tools.helm import MAJORS

pytestmark = pytest.mark.chart

MODELS = {
    "ConfigMap": "V1ConfigMap",
    "CronJob": "V1CronJob",
    "Job": "V1Job",
    "NetworkPolicy": "V1NetworkPolicy",
    "Pod": "V1Pod",
    "Service": "V1Service",
    "ServiceAccount": "V1ServiceAccount",
}
each_example = pytest.mark.parametrize(
    "example", EXAMPLES, ids=lambda path: path.name.removesuffix("-values.yaml")
)
each_helm = pytest.mark.parametrize("major", MAJORS)

# What Pod Security *restricted* asks of a container of one's own.
RESTRICTED = {
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
}
# Each switch with its positions; combinations that the chart refuses are one switch.
SWITCHES: dict[str, list[Tree]] = {
    "launch": [{}, {"launch": "schedule"}, {"launch": "template"}],
    "gpus": [
        {},
        {"gpus": {"count": 1, "resource": "nvidia.com/mig-1g.10gb"}, "runtimeClassName": "nvidia"},
        {"gpus": {"count": 8, "sharedMemory": "16Gi"}, "test": {"gpu": True}},
    ],
    "workers": [{}, {"workers": 3}],
    "credentials": [
        {},
        {"credentials": {"secret": "store"}},
        {"credentials": {"secret": "store", "format": "keys"}},
        {"credentials": {"podIdentity": True}},
        {
            "serviceAccount": {
                "annotations": {
                    "eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/graft"
                }
            }
        },
        {"serviceAccount": {"create": False, "name": "trainer"}},
    ],
    "store": [{}, {"store": {"endpoint": "http://minio.storage:9000", "region": "eu-central-1"}}],
    "authority": [{}, {"caBundle": {"configMap": "company-ca"}}],
    "proxy": [
        {},
        {
            "proxy": {
                "http": "http://proxy:3128",
                "https": "http://proxy:3128",
                "noProxy": ".storage",
            }
        },
    ],
    "cache": [
        {},
        {"cache": {"claim": "graft-cache", "size": "1Ti"}, "runAs": {"fsGroup": 65532}},
        {"cache": {"ephemeral": True, "storageClass": "fast"}, "requestNodeDisk": False},
    ],
    "queue": [{}, {"queue": "training", "priorityClassName": "low"}],
    "toleration": [{}, {"gpus": {"toleration": False}}, {"gpus": {"toleration": True}}],
    "istio": [{}, {"istio": "native"}],
    "marks": [
        {},
        {"podLabels": {"team": "vision"}, "podAnnotations": {"cost": "4711"}},
        {
            "podLabels": {"team": "vision"},
            "commonLabels": {"team": "all", "cost": "4711"},
            "commonAnnotations": {"owner": "us"},
            "jobLabels": {"team": "jobs"},
            "jobAnnotations": {"owner": "jobs"},
        },
    ],
    "placement": [
        {},
        {
            "nodeSelector": {"disk": "ssd"},
            "affinity": {"podAntiAffinity": {}},
            "tolerations": [{"key": "batch", "operator": "Exists"}],
        },
        {
            "architecture": "",
            "schedulerName": "volcano",
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
            ],
            "dnsConfig": {"nameservers": ["10.0.0.10"]},
            "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["minio.internal"]}],
            "podSecurityContext": {"supplementalGroups": [5000]},
            "containerSecurityContext": {"seLinuxOptions": {"level": "s0:c1"}},
        },
    ],
    "resources": [{}, {"resources": {"requests": None, "limits": {"memory": "2Gi", "cpu": "2"}}}],
    "image": [
        {},
        {"image": {"digest": f"sha256:{'0' * 64}"}, "imagePullSecrets": [{"name": "registry"}]},
    ],
    "extra": [
        {},
        {
            "extraEnv": [{"name": "TF_NUM_INTEROP_THREADS", "value": "1"}],
            "extraEnvFrom": [{"secretRef": {"name": "more"}}],
            "extraVolumes": [{"name": "data", "emptyDir": {"sizeLimit": "1Gi"}}],
            "extraVolumeMounts": [{"name": "data", "mountPath": "/data"}],
        },
        {
            "initContainers": [{"name": "first", "image": "first:1", **RESTRICTED}],
            "extraContainers": [{"name": "beside", "image": "beside:1", **RESTRICTED}],
            "extraObjects": ["{apiVersion: v1, kind: ConfigMap, metadata: {name: ours}}"],
            "global": {
                "imageRegistry": "mirror:5000",
                "imagePullSecrets": ["one", {"name": "two"}],
            },
            "nameOverride": "trainer",
        },
    ],
    "policy": [{}, {"networkPolicy": {"enabled": True}}],
    "monitor": [
        {},
        {"podMonitor": {"enabled": True}},
        {
            "podMonitor": {"enabled": True},
            "prometheusRule": {"enabled": True},
            "dashboard": {"enabled": True},
        },
    ],
    "telemetry": [
        {},
        {"settings": {"telemetry": {"port": 9100, "push_url": "http://pushgateway:9091"}}},
    ],
    "job": [
        {},
        {"job": {"retries": 0, "ttlSecondsAfterFinished": 600}, "run": {"again": "once more"}},
    ],
    "name": [{}, {"fullnameOverride": "n" * 63}],
}


def covering(sizes: list[int], seed: int = 0) -> list[tuple[int, ...]]:
    """Rows of positions in which every pair of positions of two switches meets at least once."""
    chance = random.Random(seed)
    pairs = itertools.combinations(range(len(sizes)), 2)
    open_pairs = {(a, i, b, j) for a, b in pairs for i in range(sizes[a]) for j in range(sizes[b])}
    rows = []
    while open_pairs:
        a, i, b, j = min(open_pairs)
        tries = [[chance.randrange(size) for size in sizes] for _ in range(50)]
        for row in tries:
            row[a], row[b] = i, j
        best = max(tries, key=lambda row: len(open_pairs & _met(row)))
        open_pairs -= _met(best)
        rows.append(tuple(best))
    return rows


def _met(row: list[int]) -> set[tuple[int, int, int, int]]:
    return {(a, row[a], b, row[b]) for a, b in itertools.combinations(range(len(row)), 2)}


ROWS = covering([len(positions) for positions in SWITCHES.values()])


def understood(objects: list[Tree]) -> None:
    """Fail unless Kubernetes takes each object, and no variable, volume or mount occurs twice."""
    for item in objects:
        if item["kind"] in MODELS:
            assert faults(item, MODELS[item["kind"]]) == []
        assert len(item["metadata"]["name"]) <= 63
    assert len({(item["kind"], item["metadata"]["name"]) for item in objects}) == len(objects)
    for pod in pods(objects):
        container = training(pod)
        for entries, key in (
            (container["env"], "name"),
            (container["volumeMounts"], "mountPath"),
            (pod["spec"]["volumes"], "name"),
        ):
            names = [entry[key] for entry in entries]
            assert sorted(names) == sorted(set(names))
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes


@each_helm
@each_example
def test_an_example_passes_the_strict_lint(major: int, example: Path) -> None:
    assert "0 chart(s) failed" in run_helm(
        major, "lint", "--strict", str(example.parents[1]), "--values", str(example)
    )


@each_helm
def test_the_chart_passes_the_strict_lint_without_values(major: int) -> None:
    assert "0 chart(s) failed" in run_helm(major, "lint", "--strict", str(EXAMPLES[0].parents[1]))


@each_example
def test_an_example_is_the_same_under_both_helms_and_twice(example: Path) -> None:
    values = yaml.safe_load(example.read_text())
    objects = render(values)
    understood(objects)
    assert objects == render(values) == render(values, major=4)


def test_there_is_an_example_for_each_launch_and_each_group_of_values() -> None:
    shown = merged(*(yaml.safe_load(example.read_text()) for example in EXAMPLES))
    everything = yaml.safe_load((EXAMPLES[0].parents[1] / "values.yaml").read_text())
    assert everything.keys() - shown.keys() == {"run", "scratch", "fullnameOverride"}
    shown_global = yaml.safe_load((EXAMPLES[0].parent / "company-values.yaml").read_text())
    assert shown_global["global"].keys() == everything["global"].keys()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "".join(map(str, row)))
def test_every_pair_of_switches_is_understood(row: tuple[int, ...]) -> None:
    chosen = [positions[index] for positions, index in zip(SWITCHES.values(), row, strict=True)]
    understood(render(merged(*chosen), major=3 + sum(row) % 2))


def test_the_pairs_are_all_there_and_few_enough() -> None:
    met = set().union(*(_met(list(row)) for row in ROWS))
    sizes = [len(positions) for positions in SWITCHES.values()]
    assert len(met) == sum(a * b for a, b in itertools.combinations(sizes, 2))
    assert len(ROWS) < 50


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda spec: spec.update(backofLimit=3), "Extra inputs"),
        (lambda spec: spec.update(backoffLimit="3"), "valid integer"),
        (
            lambda spec: spec["template"]["spec"]["volumes"][0]["emptyDir"].update(size=1),
            "Extra inputs",
        ),
        (lambda spec: spec["podFailurePolicy"]["rules"][0].pop("action"), "required"),
        (lambda spec: spec["template"]["spec"].update(containers={}), "valid list"),
    ],
)
def test_what_kubernetes_would_not_understand_is_found(damage: Any, fault: str) -> None:
    spec = job(render())
    damage(spec)
    assert fault in "".join(faults(spec, "V1JobSpec"))


def test_a_job_is_never_rendered_suspended_and_the_queue_is_on_the_job_itself() -> None:
    for launch in ("run", "schedule", "template"):
        objects = render({"launch": launch, "queue": "training"})
        (outer,) = [item for item in objects if item["kind"] in ("Job", "CronJob")]
        holder = outer if launch == "run" else outer["spec"]["jobTemplate"]
        assert holder["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "training"
        assert "suspend" not in job(objects)
        assert launch == "run" or "kueue.x-k8s.io/queue-name" not in outer["metadata"]["labels"]


def test_one_pod_serves_all_launches_but_for_its_time_to_live() -> None:
    run, schedule, template = (
        job(render({"launch": launch})) for launch in ("run", "schedule", "template")
    )
    assert schedule == template == run | {"ttlSecondsAfterFinished": 7 * 24 * 3600}
    assert "ttlSecondsAfterFinished" not in run


def test_a_template_starts_nothing_and_a_schedule_says_when() -> None:
    template = next(item for item in render({"launch": "template"}) if item["kind"] == "CronJob")
    assert template["spec"]["suspend"] is True
    schedule = next(item for item in render({"launch": "schedule"}) if item["kind"] == "CronJob")
    expected = {
        "schedule": "0 3 * * *",
        "timeZone": "Etc/UTC",
        "startingDeadlineSeconds": 3600,
        "suspend": False,
        "concurrencyPolicy": "Forbid",
        "successfulJobsHistoryLimit": 10,
        "failedJobsHistoryLimit": 10,
    }
    assert {
        key: value for key, value in schedule["spec"].items() if key != "jobTemplate"
    } == expected


def test_gpus_are_promised_tolerated_and_given_shared_memory() -> None:
    objects = render({"gpus": {"count": 2}})
    spec = job(objects)["template"]["spec"]
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert spec["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    assert {"medium": "Memory", "sizeLimit": "2Gi"} in [
        volume.get("emptyDir") for volume in spec["volumes"]
    ]
    variables = environment(objects)
    assert variables["GRAFT_DEVICES_GPUS"] == "2"
    assert variables["CUDA_CACHE_PATH"].startswith(variables["GRAFT_CACHE_DIR"])
    assert "NVIDIA_VISIBLE_DEVICES" not in variables


def test_kueue_alone_gives_tolerations_to_a_run_in_its_queue() -> None:
    """It adds those of its flavors to the Job, and Helm would want to take the list back."""

    def tolerations(**values: Any) -> Any:
        return job(render({"gpus": {"count": 1}, "queue": "training"} | values))["template"][
            "spec"
        ].get("tolerations")

    usual = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert tolerations() is None
    assert tolerations(gpus={"count": 1, "toleration": True}) == usual
    assert tolerations(queue="") == usual
    assert tolerations(queue="", gpus={"count": 1, "toleration": False}) is None


def test_a_pod_without_gpus_sees_none_even_if_its_image_asks_for_all() -> None:
    assert environment(render())["NVIDIA_VISIBLE_DEVICES"] == "void"


@pytest.mark.parametrize(("gpu", "count"), [(False, None), (True, "2")])
def test_the_test_checks_as_the_run_would_and_takes_gpus_when_told_to(
    gpu: bool, count: str | None
) -> None:
    values = {
        "gpus": {"count": 2},
        "test": {"gpu": gpu},
        "cache": {"claim": "shared"},
        "credentials": {"secret": "store"},
    }
    run, test = pods(render(values))
    assert test["metadata"]["annotations"]["helm.sh/hook"] == "test"
    (trained,), (checked,) = run["spec"]["containers"], test["spec"]["containers"]
    assert (trained["args"], checked["args"]) == (["run"], ["check"])
    assert checked["resources"]["limits"].get("nvidia.com/gpu") == count
    assert test["spec"]["serviceAccountName"] == run["spec"]["serviceAccountName"]
    assert test["spec"]["tolerations"] == run["spec"]["tolerations"]
    only_gpus = {"GRAFT_DEVICES_GPUS", "CUDA_CACHE_PATH", "NVIDIA_VISIBLE_DEVICES"}
    variables = [
        {entry["name"]: entry["value"] for entry in it["env"]} for it in (trained, checked)
    ]
    assert {name for name, _ in variables[0].items() ^ variables[1].items()} == (
        set() if gpu else only_gpus
    )


def test_a_check_leaves_the_claim_to_the_run() -> None:
    _, test = pods(render({"cache": {"claim": "shared"}}))
    assert not [volume for volume in test["spec"]["volumes"] if "persistentVolumeClaim" in volume]


def test_the_cache_limit_stays_below_the_volume() -> None:
    assert environment(render({"cache": {"size": "10Gi"}}))["GRAFT_CACHE_LIMIT"] == str(
        10 * 2**30 * 9 // 10
    )
    assert environment(render({"cache": {"size": "2Ti"}}))["GRAFT_CACHE_LIMIT"] == str(
        2 * 2**40 * 9 // 10
    )
    assert environment(render({"cache": {"size": "500Mi"}}))["GRAFT_CACHE_LIMIT"] == str(
        500 * 2**20 * 9 // 10
    )


def test_credentials_come_as_a_file_or_as_keys_and_never_as_values() -> None:
    (container,) = job(render({"credentials": {"secret": "store"}}))["template"]["spec"][
        "containers"
    ]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "credentials"]
    variables = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert variables["AWS_SHARED_CREDENTIALS_FILE"] == f"{mount['mountPath']}/credentials"
    (container,) = job(render({"credentials": {"secret": "store", "format": "keys"}}))["template"][
        "spec"
    ]["containers"]
    keys = {
        entry["name"]: entry["valueFrom"]["secretKeyRef"]
        for entry in container["env"]
        if "valueFrom" in entry
    }
    assert keys.keys() == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
    assert all(
        reference["key"] == name and reference["name"] == "store"
        for name, reference in keys.items()
    )
    assert [name for name, reference in keys.items() if reference["optional"]] == [
        "AWS_SESSION_TOKEN"
    ]


def test_the_secret_of_the_webhook_comes_from_a_secret_and_never_as_a_value() -> None:
    url = {"settings": {"telemetry": {"webhook_url": "https://events.example/hook"}}}
    (container,) = job(render(url))["template"]["spec"]["containers"]
    assert "GRAFT_TELEMETRY_WEBHOOK_SECRET" not in {entry["name"] for entry in container["env"]}
    signed = url | {"webhook": {"secret": "events", "key": "hmac"}}
    (container,) = job(render(signed))["template"]["spec"]["containers"]
    found = {entry["name"]: entry for entry in container["env"]}
    assert found["GRAFT_TELEMETRY_WEBHOOK_URL"]["value"] == "https://events.example/hook"
    assert found["GRAFT_TELEMETRY_WEBHOOK_SECRET"] == {
        "name": "GRAFT_TELEMETRY_WEBHOOK_SECRET",
        "valueFrom": {"secretKeyRef": {"name": "events", "key": "hmac"}},
    }


def test_the_monitor_selects_the_pods_and_names_their_port() -> None:
    objects = render({"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}})
    monitor = next(item for item in objects if item["kind"] == "PodMonitor")
    pod = job(objects)["template"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert [endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]] == [
        port["name"] for port in pod["spec"]["containers"][0]["ports"]
    ]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_the_least_values_of_the_tests_are_those_of_the_first_example() -> None:
    assert yaml.safe_load((EXAMPLES[0].parent / "run-values.yaml").read_text()) == LEAST

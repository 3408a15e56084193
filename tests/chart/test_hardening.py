"""Every launch is hardened, and the check that says so misses no field that is turned off."""

import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.hardening import findings
from tests.chart.rendering import EXAMPLES, LAUNCHES, Tree, copied, job, render
from tools.paths import CHART

pytestmark = pytest.mark.chart

POD, JOB, ENVIRONMENT = "templates/_pod.tpl", "templates/_job.tpl", "templates/_environment.tpl"
ALL_CAPABILITIES = "        capabilities:\n          drop: [ALL]\n"
# (file, hardened text, what a careless hand makes of it)
MUTANTS = [
    (POD, "restartPolicy: Never", "restartPolicy: OnFailure"),
    (POD, "automountServiceAccountToken: false", "automountServiceAccountToken: true"),
    (POD, "  automountServiceAccountToken: false\n", ""),
    (POD, "enableServiceLinks: false", "enableServiceLinks: true"),
    (POD, "  enableServiceLinks: false\n", ""),
    (POD, "runAsNonRoot: true", "runAsNonRoot: false"),
    (POD, "    runAsNonRoot: true\n", ""),
    (POD, "type: RuntimeDefault", "type: Unconfined"),
    (POD, "    seccompProfile:\n      type: RuntimeDefault\n", ""),
    (POD, "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true"),
    (POD, "        allowPrivilegeEscalation: false\n", ""),
    (POD, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"),
    (POD, "        readOnlyRootFilesystem: true\n", ""),
    (POD, ALL_CAPABILITIES, ""),
    (POD, "drop: [ALL]", "drop: [NET_RAW]"),
    (POD, "drop: [ALL]", "drop: [ALL]\n          add: [SYS_ADMIN]"),
    (POD, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: true\n        privileged: true"),
    (POD, "terminationMessagePolicy: FallbackToLogsOnError", "terminationMessagePolicy: File"),
    (POD, "  restartPolicy: Never\n", "  restartPolicy: Never\n  hostNetwork: true\n"),
    (POD, "  restartPolicy: Never\n", "  restartPolicy: Never\n  hostPID: true\n"),
    (POD, "runAsNonRoot: true", "runAsNonRoot: true\n    runAsUser: 0"),
    (
        POD,
        "emptyDir:\n        sizeLimit: {{ $values.scratch.size }}",
        "hostPath:\n        path: /tmp",
    ),
    (POD, "        sizeLimit: {{ $values.cache.size }}", "        medium: ''"),
    (POD, "containerPort: {{ . }}", "containerPort: {{ . }}\n          hostPort: {{ . }}"),
    (POD, "{{ int $values.job.terminationGracePeriodSeconds }}", "0"),
    (POD, "deepCopy $values.resources", "dict"),
    (ENVIRONMENT, '"NVIDIA_VISIBLE_DEVICES" "void"', '"NVIDIA_VISIBLE_DEVICES" "all"'),
    (JOB, "podReplacementPolicy: Failed", "podReplacementPolicy: TerminatingOrFailed"),
    (JOB, "containerName: graft\n", "containerName: sidecar\n"),
    (JOB, "        containerName: graft\n", ""),
    (JOB, "values: [2, 3, 4, 5, 6]", "values: [2, 3, 4, 5, 6, 75]"),
    (JOB, "{{- if gt $workers 1 }}\n    # Another", "{{- if true }}\n    # Another"),
    (POD, "if $values.requestNodeDisk", "if false"),
    (JOB, "action: Ignore", "action: Count"),
    (JOB, "type: DisruptionTarget", "type: Ready"),
    (JOB, "activeDeadlineSeconds: {{ int .Values.job.activeDeadlineSeconds }}\n", ""),
    (JOB, "backoffLimit: {{ mul .Values.job.retries $workers }}\n", ""),
    (JOB, "podReplacementPolicy: Failed\n", "podReplacementPolicy: Failed\nsuspend: true\n"),
    ("templates/serviceaccount.yaml", "automountServiceAccountToken: false\n", ""),
]


@pytest.mark.parametrize("launch", LAUNCHES)
def test_every_launch_is_hardened(launch: str) -> None:
    assert list(findings(render({"launch": launch}))) == []


@pytest.mark.parametrize(
    "example", EXAMPLES, ids=lambda path: path.name.removesuffix("-values.yaml")
)
def test_no_example_weakens_more_than_it_says(example: Path) -> None:
    changed = {
        "folder-values.yaml": {"backoffLimit is 5", "activeDeadlineSeconds is 3600"},
        "workers-values.yaml": {"backoffLimit is 9"},
    }
    assert set(findings(render(yaml.safe_load(example.read_text())))) == changed.get(
        example.name, set()
    )


@pytest.mark.parametrize("launch", LAUNCHES)
@pytest.mark.parametrize(
    "mutant", MUTANTS, ids=lambda mutant: f"{mutant[1].strip()} -> {mutant[2].strip()}"
)
def test_a_hardened_field_that_is_turned_off_in_the_chart_is_found(
    tmp_path: Path, mutant: Any, launch: str
) -> None:
    assert list(findings(render({"launch": launch}, chart=copied(tmp_path, mutant))))


def without_each(tree: Any) -> Iterator[tuple[str, Any]]:
    """Copies of a tree, each without one key that lies somewhere in it."""
    for path in _paths(tree):
        copy = deepcopy(tree)
        holder = copy
        for key in path[:-1]:
            holder = holder[key]
        del holder[path[-1]]
        yield ".".join(map(str, path)), copy


def _paths(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    children: list[tuple[Any, Any]] = []
    if isinstance(tree, dict):
        children = list(tree.items())
        yield from ((*path, key) for key in tree)
    elif isinstance(tree, list):
        children = list(enumerate(tree))
    for key, inner in children:
        yield from _paths(inner, (*path, key))


def hardened(path: str) -> bool:
    """Whether a field of a Job is there to protect, rather than to train."""
    return bool(
        re.search(
            r"securityContext|Policy\b|Policy\.|Seconds|Limit$|automount|enableServiceLinks|limits",
            path,
        )
        and not re.search(r"ttlSeconds|imagePullPolicy|cronJob", path)
    )


@pytest.mark.parametrize("launch", LAUNCHES)
def test_a_hardened_field_that_is_missing_from_the_object_is_found(launch: str) -> None:
    objects = render({"launch": launch})
    (place,) = [index for index, item in enumerate(objects) if item["kind"] in ("Job", "CronJob")]
    survived, tried = [], 0
    for path, spec in without_each(job(objects)):
        if hardened(path):
            tried += 1
            mutant = {"kind": "Job", "spec": spec}
            if not list(findings([*objects[:place], mutant, *objects[place + 1 :]])):
                survived.append(path)
    assert tried > 25
    assert survived == []


def test_no_permission_in_the_cluster_is_rendered() -> None:
    kinds: set[str] = set()
    for example in EXAMPLES:
        kinds |= {item["kind"] for item in render(yaml.safe_load(example.read_text()))}
    assert kinds == {
        "ConfigMap",
        "CronJob",
        "Job",
        "NetworkPolicy",
        "Pod",
        "PodMonitor",
        "PrometheusRule",
        "Service",
        "ServiceAccount",
    }


def test_a_secret_has_no_place_among_the_values() -> None:
    keys = re.findall(r"^ *(\w+):", (CHART / "values.yaml").read_text(), re.MULTILINE)
    assert not [
        key for key in keys if re.search(r"password|token|accessKey|secretKey", key, re.IGNORECASE)
    ]


def test_a_fixed_user_is_ones_own_choice() -> None:
    spec: Tree = job(render({"runAs": {"user": 1000, "fsGroup": 2000}}))["template"]["spec"]
    assert spec["securityContext"]["runAsUser"] == 1000

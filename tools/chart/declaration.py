"""What `helm/values.yaml` declares: each value's default, its comment and its schema."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from tools.paths import CHART

# Groups of Kubernetes's own, passed on as they are: nothing beneath them is a value of the chart.
WHOLE = {"settings", "resources", "labels"}

TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
ANYTHING = {"type": "object"}
QUANTITIES = {"type": "object", "additionalProperties": {"type": ["string", "integer", "number"]}}
SIZE = {"type": "string", "pattern": "^[1-9][0-9]*(Mi|Gi|Ti)$"}
URL = {"type": "string", "pattern": r"^(https?://[^\s/]+/?)?$"}
SECONDS = {"type": "integer", "minimum": 1}
IDENTITY = {"type": "integer", "minimum": 1}
NAME = {"type": "string", "pattern": "^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$"}


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """The schema of an object with these keys and no other."""
    schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return schema | ({"required": list(required)} if required else {})


def several(items: dict[str, Any]) -> dict[str, Any]:
    """The schema of a list."""
    return {"type": "array", "items": items}


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema, in which null is allowed too."""
    wider = dict(schema)
    if isinstance(kind := schema.get("type"), str):
        wider["type"] = [kind, "null"]
    if "enum" in schema:
        wider["enum"] = [*schema["enum"], None]
    if "anyOf" in schema:
        wider["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    return wider


def named(**more: Any) -> dict[str, Any]:
    """The schema of an object that Kubernetes knows by its name, open for its other keys."""
    return {
        "type": "object",
        "properties": {"name": {"type": "string", "minLength": 1}, **more},
        "required": ["name"],
    }


# What a default does not say by itself.
SHAPES: dict[str, dict[str, Any]] = {
    "launch": {"enum": ["run", "schedule", "template"]},
    "run.again": {"type": "string", "maxLength": 63},
    "run.attempt": {"type": "string", "maxLength": 63},
    "schedule.cron": {
        "type": "string",
        "pattern": r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|(\S+\s+){4}\S+)$",
    },
    "schedule.timeZone": {"type": "string", "pattern": r"^[A-Za-z0-9_+/-]+$"},
    "schedule.startingDeadlineSeconds": {"type": "integer", "minimum": 10},
    "schedule.concurrencyPolicy": {"enum": ["Allow", "Forbid", "Replace"]},
    "image.repository": {"type": "string", "minLength": 1},
    "image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "imagePullSecrets": several(closed({"name": {"type": "string", "minLength": 1}}, "name")),
    "job.activeDeadlineSeconds": SECONDS,
    "job.terminationGracePeriodSeconds": SECONDS,
    # With less, a waiter that looks again finds nothing, and a retry starts the run once more.
    "job.ttlSecondsAfterFinished": {"type": "integer", "minimum": 600},
    "store.endpoint": URL,
    "credentials.secret": NAME,
    "credentials.format": {"enum": ["file", "keys"]},
    "caBundle.configMap": NAME,
    "caBundle.key": {"type": "string", "pattern": "^[-._a-zA-Z0-9]+$"},
    "webhook.secret": NAME,
    "webhook.key": {"type": "string", "pattern": "^[-._a-zA-Z0-9]+$"},
    "proxy.http": URL,
    "proxy.https": URL,
    "cache.claim": NAME,
    "cache.storageClass": NAME,
    "cache.size": SIZE,
    "scratch.size": SIZE,
    "workers": {"type": "integer", "minimum": 1, "maximum": 999},
    "gpus.resource": {"type": "string", "pattern": "^[a-z0-9.-]+/[A-Za-z0-9._-]+$"},
    "gpus.sharedMemory": SIZE,
    "gpus.toleration": {"type": "boolean"},
    "resources": closed({"requests": QUANTITIES, "limits": QUANTITIES}),
    "architecture": {"type": "string", "pattern": "^[a-z0-9]*$"},
    "nodeSelector": TEXTS,
    "affinity": ANYTHING,
    "topologySpreadConstraints": several(ANYTHING),
    "tolerations": several(
        closed(
            {key: {"type": "string"} for key in ("key", "operator", "value", "effect")}
            | {"tolerationSeconds": {"type": "integer"}}
        )
    ),
    "istio": {"enum": ["disabled", "native"]},
    "podLabels": TEXTS,
    "podAnnotations": TEXTS,
    "jobLabels": TEXTS,
    "jobAnnotations": TEXTS,
    "commonLabels": TEXTS,
    "commonAnnotations": TEXTS,
    "initContainers": several(named()),
    "extraContainers": several(named()),
    "dnsConfig": ANYTHING,
    "hostAliases": several(ANYTHING),
    # Nothing that Pod Security *restricted* would refuse, and nothing that the chart sets itself.
    "podSecurityContext": closed(
        {
            "supplementalGroups": several({"type": "integer", "minimum": 1}),
            "supplementalGroupsPolicy": {"enum": ["Merge", "Strict"]},
            "fsGroupChangePolicy": {"enum": ["OnRootMismatch", "Always"]},
            "seLinuxOptions": ANYTHING,
            "appArmorProfile": ANYTHING,
        }
    ),
    "containerSecurityContext": closed({"seLinuxOptions": ANYTHING, "appArmorProfile": ANYTHING}),
    "runAs.user": IDENTITY,
    "runAs.group": IDENTITY,
    "runAs.fsGroup": IDENTITY,
    "serviceAccount.name": NAME,
    "serviceAccount.annotations": TEXTS,
    "extraEnv": several(
        closed(
            {
                "name": {"type": "string", "minLength": 1},
                "value": {"type": "string"},
                "valueFrom": ANYTHING,
            },
            "name",
        )
    ),
    "extraEnvFrom": several(
        closed({"prefix": {"type": "string"}, "configMapRef": named(), "secretRef": named()})
    ),
    "extraVolumes": several(named()),
    "extraVolumeMounts": several(
        named(mountPath={"type": "string", "pattern": "^/"}) | {"required": ["name", "mountPath"]}
    ),
    "networkPolicy.metricsFrom": several(ANYTHING),
    "networkPolicy.extraEgress": several(ANYTHING),
    "podMonitor.interval": {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$"},
    "podMonitor.scrapeTimeout": {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))*$"},
    "podMonitor.labels": TEXTS,
    "podMonitor.relabelings": several(ANYTHING),
    "podMonitor.metricRelabelings": several(ANYTHING),
    "prometheusRule.scope": {"enum": ["release", "cluster"]},
    "prometheusRule.labels": TEXTS,
    "prometheusRule.pendingSeconds": SECONDS,
    "prometheusRule.stalledSeconds": SECONDS,
    "prometheusRule.runbookUrl": {"type": "string", "pattern": r"^(https?://\S+)?$"},
    "dashboard.labels": TEXTS,
    "dashboard.annotations": TEXTS,
    "extraObjects": {"type": "array", "items": {"type": ["object", "string"]}},
    "nameOverride": NAME | {"maxLength": 63},
    "global.imageRegistry": {"type": "string", "pattern": r"^([^\s:/]+(:[0-9]+)?(/[^\s:]*)?)?$"},
    "global.imagePullSecrets": several(
        {"type": ["object", "string"], "required": ["name"], "minLength": 1}
    ),
    "fullnameOverride": {
        "type": "string",
        "pattern": "^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$",
        "maxLength": 63,
    },
}
PLAIN: dict[type, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer", "minimum": 0},
    str: {"type": "string"},
}


@dataclass(frozen=True, slots=True)
class Value:
    """One value of the chart: `path` has its keys, joined by dots."""

    path: str
    default: Any
    sentence: str

    def schema(self) -> dict[str, Any]:
        """What may be given for it. Null is the default, everywhere."""
        return nullable(SHAPES[self.path] if self.path in SHAPES else PLAIN[type(self.default)])


def values() -> tuple[Value, ...]:
    """Every value in the order of the file."""
    text = (CHART / "values.yaml").read_text()
    sentences = dict(_iterate_sentences(text))
    return tuple(
        Value(path, default, sentences.get(path, ""))
        for path, default in _iterate_leaves(yaml.safe_load(text))
    )


def _iterate_leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, default in tree.items():
        if isinstance(default, dict) and default and key not in WHOLE:
            yield from _iterate_leaves(default, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", default


def _iterate_sentences(text: str) -> Iterator[tuple[str, str]]:
    """Each key with the comment right above it, at most two levels deep."""
    group, comment = "", ""
    for line in text.splitlines():
        if said := re.match(r" *# (.+)", line):
            comment = f"{comment} {said[1]}".strip()
        elif key := re.match(r"( {0,2})(\w+):", line):
            group = group if key[1] else key[2]
            yield f"{group}.{key[2]}" if key[1] else key[2], comment
            comment = ""
        else:
            comment = ""

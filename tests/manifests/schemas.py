"""Custom objects against the schema of their definition, from the Go module of their tool.

An API server drops a field that the schema does not know, without a word; here it is a fault. Rules
in CEL (`x-kubernetes-validations`) are not evaluated.
"""

from functools import cache
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from tests.chart.rendering import Tree
from tools.go import Module

DEFINITIONS = {
    "InferenceService": (
        Module(
            "github.com/kserve/kserve",
            "v0.15.2",
            "h1:uph7Umk331fvBMrHHpTJNDt6+lf3IAuyiskaQw8wIAk=",
        ),
        "config/crd/full/serving.kserve.io_inferenceservices.yaml",
    ),
    "Application": (
        Module(
            "github.com/argoproj/argo-cd/v3",
            "v3.5.7",
            "h1:Xm1BF+I5OgDKUG3SDK49vn2/Y5AMyaNVko+/JT08gj0=",
        ),
        "manifests/crds/application-crd.yaml",
    ),
    "HelmRelease": (
        Module(
            "github.com/fluxcd/helm-controller",
            "v1.4.0",
            "h1:rkm8rmB6Na7eNc4pJOnvtXEaJ19iKluRtayHKjBxcUM=",
        ),
        "config/crd/bases/helm.toolkit.fluxcd.io_helmreleases.yaml",
    ),
    "GitRepository": (
        Module(
            "github.com/fluxcd/source-controller",
            "v1.7.0",
            "h1:/fBgS4CSmT5Jj/fjQDF92y+pC3gst1GJjgNSzY8Ff9I=",
        ),
        "config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml",
    ),
}


def faults(value: Tree) -> list[str]:
    """Wrong types and values, missing fields, and fields that the API server would drop."""
    schema = _schema(value["kind"], value["apiVersion"])
    return [
        f"{error.json_path}: {error.message}"
        for error in Draft202012Validator(schema).iter_errors(value)
    ]


@cache
def _schema(kind: str, api_version: str) -> Tree:
    module, path = DEFINITIONS[kind]
    definition = yaml.safe_load((module.folder() / path).read_text())["spec"]
    for version in definition["versions"]:
        if version["served"] and f"{definition['group']}/{version['name']}" == api_version:
            whole: Tree = _closed(version["schema"]["openAPIV3Schema"])
            # The API server itself knows metadata, which every object has.
            whole["properties"]["metadata"] = {"type": "object"}
            return whole
    raise SystemExit(
        f"{module.path} {module.version} does not serve {api_version}. "
        "Take a version that it serves."
    )


def _closed(node: Any) -> Any:
    """The schema with every object closed that an API server prunes."""
    if isinstance(node, list):
        return [_closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    closed = {key: _closed(value) for key, value in node.items()}
    if "properties" in node and isinstance(node.get("type"), str) and not _is_open(node):
        closed["additionalProperties"] = False
    return closed


def _is_open(node: Tree) -> bool:
    return "additionalProperties" in node or node.get("x-kubernetes-preserve-unknown-fields", False)

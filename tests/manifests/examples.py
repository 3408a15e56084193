"""The examples as objects, and what is said against them by programs of the tools themselves."""

import argparse
import json
import subprocess
from collections.abc import Sequence
from typing import Any

import yaml

from job import __main__ as command
from job import settings
from tests.chart.rendering import Tree
from tools.checkers import checker
from tools.paths import CHART, MANIFESTS

PIPELINES = MANIFESTS / "pipelines"
VERSION = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
IMAGE = f"registry.example.com/graft:{VERSION}"


def objects(name: str) -> list[Tree]:
    """The objects of one file below manifests/."""
    return list(yaml.safe_load_all((MANIFESTS / name).read_text()))


def of_group(group: str, items: Sequence[Tree]) -> list[Tree]:
    """Those of one API group."""
    return [item for item in items if item["apiVersion"].startswith(f"{group}/")]


def complaints(program: str, items: Sequence[Any]) -> str:
    """What a checker of tools/checkers.py says about objects; nothing where they are right."""
    text = json.dumps(items) if program == "podsecurity" else yaml.safe_dump_all(items)
    return _said([str(checker(program))], text)


def _said(command: Sequence[str], text: str) -> str:
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=True, timeout=300
    )
    return done.stdout.strip()


def argo_value(expression: str, variables: Tree) -> str:
    """What Argo makes of an expression, as text."""
    return _said([str(checker("argo")), expression], json.dumps(variables))


def insecurities(name: str, spec: Tree) -> str:
    """What Pod Security `restricted` has against a pod, by Kubernetes's own rules."""
    return complaints("podsecurity", [{"metadata": {"name": name}, "spec": spec}])


def planted(tree: Any, path: str, value: Any) -> Any:
    """A copy with one value more or another one, at a path such as `spec.steps.0.image`."""
    copy = json.loads(json.dumps(tree))
    *way, last = path.split(".")
    inner = copy
    for key in way:
        inner = inner[int(key)] if isinstance(inner, list) else inner[key]
    inner[int(last) if isinstance(inner, list) else last] = value
    return copy


RELEASE = "s3://models/flowers/releases/1"


def understood(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments as Graft reads them; a setting that it does not have fails the test."""
    given = command.build_parser().parse_args(arguments)
    known = set(settings.VARIABLES)
    assert {name for name, _ in getattr(given, "set", [])} <= known
    return given

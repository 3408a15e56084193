"""The chart through the real Helm: values in, Kubernetes objects or Helm's own message out."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tools import helm
from tools.paths import CHART

Tree = dict[str, Any]
LEAST: Tree = {
    "settings": {"dataset": {"uri": "s3://data/flowers"}, "output": {"uri": "s3://models"}}
}
LAUNCHES = ("run", "schedule", "template")
EXAMPLES = sorted((CHART / "ci").glob("*-values.yaml"))


class RefusedError(Exception):
    """Helm did not render; the text is what it said."""


class _Strict(yaml.SafeLoader):
    """YAML in which a key occurs once, as an API server asks for."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key occurs twice among {keys}"
        return super().construct_mapping(node, deep)


def render(
    values: Mapping[str, Any] | None = None,
    *options: str,
    major: int = 3,
    release: str = "flowers",
    chart: Path = CHART,
) -> list[Tree]:
    """The objects that `helm template` makes of the least values and these."""
    given = merged(LEAST, values or {})
    text = run_helm(
        major,
        "template",
        release,
        str(chart),
        "--namespace",
        "vision",
        "--values",
        "-",
        *options,
        given=given,
    )
    return [document for document in yaml.load_all(text, _Strict) if document]


def run_helm(major: int, *arguments: str, given: Mapping[str, Any] | None = None) -> str:
    """What Helm prints.

    Raises:
        RefusedError: it failed.
    """
    command = [str(helm.binary(major)), *arguments]
    done = subprocess.run(
        command, input=json.dumps(given or {}), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RefusedError(done.stderr + done.stdout)
    return done.stdout


def merged(*trees: Mapping[str, Any]) -> Tree:
    """Trees over each other, as Helm merges values: mappings join, all else is replaced."""
    whole: Tree = {}
    for tree in trees:
        for key, value in tree.items():
            inner = whole.get(key)
            whole[key] = (
                merged(inner, value)
                if isinstance(inner, dict) and isinstance(value, dict)
                else value
            )
    return whole


def only(objects: list[Tree], kind: str) -> Tree:
    """The one object of this kind."""
    (found,) = [item for item in objects if item["kind"] == kind]
    return found


def job(objects: list[Tree]) -> Tree:
    """The specification of the Job that is run, or that a CronJob would make."""
    (found,) = [item for item in objects if item["kind"] in ("Job", "CronJob")]
    spec: Tree = found["spec"]
    return spec["jobTemplate"]["spec"] if found["kind"] == "CronJob" else spec


def pods(objects: list[Tree]) -> Iterator[Tree]:
    """Every pod with metadata and specification: the run's and the test's."""
    yield job(objects)["template"]
    yield from (item for item in objects if item["kind"] == "Pod")


def training(pod: Tree) -> Tree:
    """The container of a pod that is ours."""
    (container,) = [one for one in pod["spec"]["containers"] if one["name"] == "graft"]
    return container


def environment(objects: list[Tree]) -> dict[str, str]:
    """The plain variables of the run's container."""
    container = training(job(objects)["template"])
    return {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}


def copied(folder: Path, *edits: tuple[str, str, str]) -> Path:
    """A copy of the chart with edits: (file, old text, new text); the old text must be there."""
    copy = folder / "graft"
    shutil.copytree(CHART, copy)
    for name, old, new in edits:
        text = (copy / name).read_text()
        assert old in text, f"{name} has no {old!r}"
        (copy / name).write_text(text.replace(old, new))
    return copy

"""Write what follows from the chart, or check that it is still so.

    python -m tools.chart.generate [--check]

`helm/values.schema.json`, `helm/templates/_defaults.tpl` and `helm/README.md` come from
`helm/values.yaml`, `tools/chart/declaration.py` and, for the settings, from
`docs/settings.schema.json`. `manifests/` holds the chart rendered for people without Helm.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tools import helm
from tools.chart.declaration import Value, closed, nullable, values
from tools.generated import write_or_check
from tools.paths import CHART, MANIFESTS, ROOT

LAUNCHES = ("run", "schedule", "template")
# What watches runs, by its template, and where it is kept for people without Helm.
WATCHING = {
    "prometheusrule": "alerts/prometheus-rule.yaml",
    "dashboard": "dashboards/grafana.yaml",
}


def main() -> None:
    """Write the files, or exit with a message when they are stale."""
    write_or_check(_render_files(), "the chart", __doc__)


def _render_files() -> Iterator[tuple[Path, str]]:
    """The files in the order of their writing: Helm reads the first two for the last ones."""
    yield CHART / "values.schema.json", json.dumps(schema(), indent=2) + "\n"
    yield CHART / "templates" / "_defaults.tpl", defaults()
    yield CHART / "README.md", readme()
    for launch in LAUNCHES:
        yield MANIFESTS / f"{launch}.yaml", rendered(launch)
    for template, path in WATCHING.items():
        yield MANIFESTS / path, watching(template)


def schema() -> dict[str, Any]:
    """The schema of all values: closed, in what draft-07 and 2020-12 share."""
    tree: dict[str, Any] = {}
    for value in values():
        *groups, key = value.path.split(".")
        properties = tree
        for group in groups:
            properties = properties.setdefault(group, nullable(closed({})))["properties"]
        properties[key] = {"description": value.sentence} | (
            _settings_schema() if key == "settings" else value.schema()
        )
    # A parent chart shares its own values with all its charts.
    tree["global"]["additionalProperties"] = True
    tree["enabled"] = {
        "description": "Read by the condition of a parent chart, not by this one.",
        "type": "boolean",
    }
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Graft", **closed(tree)}


def _settings_schema() -> dict[str, Any]:
    """The job's own schema, in which nothing is required and null is as good as nothing.

    What is missing is reported by the chart, together with all other problems.
    """

    def optional(node: dict[str, Any]) -> dict[str, Any]:
        relaxed = nullable(node)
        relaxed.pop("required", None)
        if "properties" in node:
            inner = node["properties"]
            relaxed["properties"] = {name: optional(inner[name]) for name in inner}
        return relaxed

    return optional(json.loads((ROOT / "docs" / "settings.schema.json").read_text()))


def defaults() -> str:
    """The default values as a template: charts cannot read their own values.yaml."""
    tree = yaml.safe_load((CHART / "values.yaml").read_text())
    text = yaml.safe_dump(tree, sort_keys=False)
    about = "The default of each value. Generated from values.yaml by `make generate`."
    return f'{{{{/* {about} */}}}}\n{{{{- define "graft.defaults" -}}}}\n{text}{{{{- end }}}}\n'


def readme() -> str:
    """The chart's page: its text as it stands in README.md.in, and one row a value."""
    rows = "\n".join(_render_row(value) for value in values())
    text = (Path(__file__).with_name("README.md.in")).read_text()
    return text.replace(
        "{{values}}", f"| value | default | what it is |\n| --- | --- | --- |\n{rows}"
    )


def _render_row(value: Value) -> str:
    default = json.dumps(value.default) if value.default not in (None, "") else ""
    sentence = value.sentence.replace("|", "\\|")
    return f"| `{value.path}` | {f'`{default}`' if default else ''} | {sentence} |"


def rendered(launch: str) -> str:
    """The chart as plain objects under the name `graft`."""
    return f"# {PURPOSES[launch]}\n{ORIGIN}\n{_render_chart(f'launch={launch}')}"


def watching(template: str) -> str:
    """What watches runs, as one plain object: the alerts for a whole cluster, or the dashboard."""
    options = ["prometheusRule.enabled=true", "prometheusRule.scope=cluster"]
    objects = _render_chart(*options, "dashboard.enabled=true", only=f"templates/{template}.yaml")
    return f"# {PURPOSES[template]}\n# Rendered from helm/ by `make generate`.\n{objects}"


def _render_chart(*options: str, only: str = "") -> str:
    """The objects of the chart without the marks of Helm, or those of one template."""
    addresses = (
        "settings.dataset.uri=s3://your-data/flowers",
        "settings.output.uri=s3://your-models",
    )
    arguments = ["template", "graft", str(CHART), "--skip-tests", "--namespace", "graft"]
    for option in (*addresses, *options):
        arguments += ["--set", option]
    if only:
        arguments += ["--show-only", only]
    done = subprocess.run([helm.binary(3), *arguments], capture_output=True, text=True, check=True)
    objects = re.sub(
        r"^ *(app\.kubernetes\.io/managed-by: Helm|helm\.sh/chart: .*)\n",
        "",
        done.stdout,
        flags=re.MULTILINE,
    )
    return re.sub(r"^# Source: .*\n", "", objects, flags=re.MULTILINE)


ORIGIN = (
    "# Rendered from helm/ by `make generate`. Set both addresses, the image and the namespace."
)
PURPOSES = {
    "run": "One run, now. Its template cannot be changed: "
    "give the Job another name for another run.",
    "schedule": "A run every night.",
    "prometheusrule": "Alerts on all runs of a cluster, for the Prometheus operator.",
    "dashboard": "A dashboard for Grafana, whose sidecar finds it by its label.",
    "template": "A template of runs: kubectl create job --from=cronjob/graft <name>, "
    "or graft submit graft.",
}


if __name__ == "__main__":
    main()

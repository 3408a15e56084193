"""Write what people and charts read about the settings, or check that it is fresh.

    python -m tools.generate_settings [--check]

`docs/settings.md` is the reference. `docs/settings.schema.json` is the part of the chart's schema
that closes `settings:`; it keeps to what JSON Schema draft-07 and 2020-12 share, without
references.
"""

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from job.settings import Description, Settings, describe_settings
from job.settings.describing import BOUNDS, join_description
from tools.generated import write_or_check
from tools.paths import ROOT

PREAMBLE = """\
# Settings

<!-- Generated from job/settings by `make generate`. -->

Every setting is an environment variable, and the chart's `settings:` has the same tree:
`GRAFT_TRAINING_BATCH_SIZE` is `settings.training.batch_size`. On the command line it is
`--set training.batch_size=64`, which wins over a file (`--env-file`), and that wins over the
environment. Settings that shape the model are
part of a run's identity: another value is another run. The others only say how the work is done.
Credentials, region and endpoint of the store are not among them: they come through the AWS SDK's
own chain (`AWS_*`, its files, web identity).
"""
TABLE = (
    "| variable | value | default | shapes the model | what it is |\n"
    "| --- | --- | --- | --- | --- |"
)

# Helm's --set makes strings of fractions: a number may come as either. None of ours is negative.
NUMERIC = {
    "integer": r"^[0-9]+$",
    "number": r"^([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$",
    "boolean": r"^(true|false)$",
}
KEPT = {*BOUNDS, "type", "enum", "const", "pattern", "items", "minItems", "minLength", "maxLength"}


def main() -> None:
    """Write the files, or exit with a message when they are stale."""
    write_or_check(_render_files().items(), "job/settings", __doc__)


def _render_files() -> dict[Path, str]:
    tree = Settings.model_json_schema()
    return {
        ROOT / "docs" / "settings.md": "\n".join(_render_reference(tree)),
        ROOT / "docs" / "settings.schema.json": json.dumps(closed(tree, tree["$defs"]), indent=2)
        + "\n",
    }


def closed(node: dict[str, Any], groups: dict[str, Any]) -> dict[str, Any]:
    """The schema of one group: closed, numbers may be strings, groups are inlined."""
    properties = {}
    for name, field in node["properties"].items():
        inner = (
            closed(groups[_group_name(field)], groups)
            if _group_name(field)
            else _accepted_schema(field)
        )
        properties[name] = {"description": join_description(field), **inner}
    required = {"required": node["required"]} if "required" in node else {}
    return {
        "description": join_description(node),
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        **required,
    }


def _accepted_schema(field: dict[str, Any]) -> dict[str, Any]:
    """The schema of what a chart may give for a plain value."""
    alternatives = [
        accepted for kind in field.get("anyOf", [field]) for accepted in _list_alternatives(kind)
    ]
    return alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}


def _list_alternatives(kind: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The type itself, and the string that a variable would hold."""
    yield {key: value for key, value in kind.items() if key in KEPT}
    if kind["type"] in NUMERIC:
        yield {"type": "string", "pattern": NUMERIC[kind["type"]]}
    elif kind["type"] == "array":
        # Names that are too many to list are words.
        one = "|".join(kind["items"].get("enum", [r"\w+"]))
        yield {"type": "string", "pattern": f"^({one})(,({one}))*$"}


def _group_name(field: dict[str, Any]) -> str:
    """The name of the group that a field holds; empty for a plain value."""
    return str(field.get("$ref", "")).removeprefix("#/$defs/")


def _render_reference(tree: dict[str, Any]) -> Iterator[str]:
    yield PREAMBLE
    yield TABLE
    for name, settings in groupby(describe_settings(), key=lambda each: each.group):
        if name:
            group = tree["$defs"][_group_name(tree["properties"][name])]
            yield f"\n## {name}\n\n{join_description(group)}\n\n{TABLE}"
        yield from map(_render_row, settings)
    yield ""


def _render_row(setting: Description) -> str:
    default = f"`{setting.default}`" if setting.default else ""
    cells = (
        f"`{setting.variable}`",
        setting.value,
        "**required**" if setting.required else default,
        "yes" if setting.shapes else "",
        setting.text,
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    main()

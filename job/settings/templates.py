"""Files to start from, with every setting as a comment: `graft init`."""

import json
import textwrap
from collections.abc import Iterator
from itertools import groupby

from job.settings.describing import Description, describe_group, describe_settings

COLUMNS = 100
# The chart refuses these, because it has values of its own for them.
SET_BY_CHART = (
    "GRAFT_AGAIN",
    "GRAFT_CACHE_DIR",
    "GRAFT_CACHE_LIMIT",
    "GRAFT_DEVICES_GPUS",
    "GRAFT_TELEMETRY_WEBHOOK_SECRET",
)
ENV_HEADING = """\
# Settings of Graft, for `graft run --env-file FILE` and for containers.
# A setting behind # has its default. DATA, OUTPUT and --set of the command line win over this file.
"""
VALUES_HEADING = """\
## Values of Graft's Helm chart, for `helm install NAME CHART --values FILE`. The chart's README has
## those besides the settings. A line behind ## explains. A setting behind # has its default.

# image:
#   repository: registry.example.com/graft
# credentials:
#   secret: store

settings:"""


def compose_env_file() -> str:
    """A file for `--env-file`, in which only the required settings are in force."""
    lines = [ENV_HEADING]
    for group, settings in groupby(describe_settings(), key=lambda each: each.group):
        if group:
            lines.append(f"# --- {group}: {describe_group(group)}\n")
        for setting in settings:
            lines += [f"# {line}" for line in _explain_setting(setting)]
            mark = "" if setting.required else "#"
            lines.append(f"{mark}{setting.variable}={setting.default}\n")
    return "\n".join(lines)


def compose_values() -> str:
    """Values for the chart, in which only the required settings are in force."""
    lines = [VALUES_HEADING]
    for group, found in groupby(describe_settings(), key=lambda each: each.group):
        settings = [each for each in found if each.variable not in SET_BY_CHART]
        block = _compose_group(group, settings)
        lines += [f"  {line}".rstrip() for line in block]
    return "\n".join([*lines, ""])


def _compose_group(group: str, settings: list[Description]) -> Iterator[str]:
    """The lines of a group. An empty group would be null, so its name is a comment too."""
    in_force = not group or any(setting.required for setting in settings)
    mark, indent = ("" if in_force else "# "), ("  " if group else "")
    if group and settings:
        yield from ("", f"## {describe_group(group)}", f"{mark}{group}:")
    for setting in settings:
        for line in _explain_setting(setting):
            yield f"{mark}{indent}## {line}"
        of_setting = "# " if in_force and not setting.required else ""
        key = setting.variable.split("_", 2 if group else 1)[-1].lower()
        yield f"{mark}{indent}{of_setting}{key}: {_format_value(setting)}"


def _explain_setting(setting: Description) -> list[str]:
    """What a setting is and what it may be, in lines."""
    return textwrap.wrap(f"{setting.text} ({setting.value})", COLUMNS - len("  #   ## "))


def _format_value(setting: Description) -> str:
    """The default as a value of YAML."""
    if setting.value.startswith(("integer", "number", "boolean")):
        return setting.default or "null"
    return json.dumps(setting.default)

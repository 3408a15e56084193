"""What people read about each setting: its value, its default, and what it is.

The texts come from the declaration. `docs/settings.md` is made of the same ones.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from job.errors import SettingsError
from job.settings.fields import find_nearest
from job.settings.sources import name_variable
from job.settings.tree import PREFIX, VARIABLES, Settings

BOUNDS = {
    "minimum": "from {}",
    "exclusiveMinimum": "above {}",
    "maximum": "to {}",
    "exclusiveMaximum": "below {}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """One setting in words.

    Attributes:
        variable: its name, `GRAFT_…`.
        group: the group that it belongs to. Empty at the top of the tree.
        value: what it may be.
        default: as a variable would hold it. Empty where there is none.
        required: whether a run needs it.
        shapes: whether it decides which model comes out.
        text: what it is, on one line.
    """

    variable: str
    group: str
    value: str
    default: str
    required: bool
    shapes: bool
    text: str

    @property
    def default_in_words(self) -> str:
        return "none, it is required" if self.required else self.default or "empty"


def describe_settings() -> Iterator[Description]:
    """Every setting, in the order of the declaration."""
    tree = Settings.model_json_schema()
    yield from _describe_fields("", tree)
    for name, field in tree["properties"].items():
        if group := find_group(tree, field):
            yield from _describe_fields(name, group)


def describe_group(name: str) -> str:
    """What the settings of a group are about, on one line."""
    tree = Settings.model_json_schema()
    group = find_group(tree, tree["properties"][name])
    return join_description(group) if group else ""


def select_descriptions(name: str) -> list[Description]:
    """The settings that a name means: one, those of a group, or with an empty name all.

    Raises:
        SettingsError: there is no such setting.
    """
    found = list(describe_settings())
    group = name.removeprefix(PREFIX).lower()
    of_group = [each for each in found if each.group and each.group == group]
    if not name or of_group:
        return of_group or found
    try:
        variable = name_variable(name if name.startswith(PREFIX) else name.lower())
    except ValueError:
        variable = name
    if variable not in VARIABLES:
        nearest = find_nearest_variable(variable)
        hint = f" The nearest is {nearest}." if nearest else ""
        raise SettingsError(
            f"{name} is not a setting.{hint}", "`graft settings --describe` lists all of them."
        )
    return [each for each in found if each.variable == variable]


def find_nearest_variable(name: str) -> str:
    """The setting that was probably meant. Empty if none is near."""
    # Without the prefix, which would make all of them alike.
    known = {variable.removeprefix(PREFIX): variable for variable in VARIABLES}
    return known.get(find_nearest(name.removeprefix(PREFIX), known), "")


def find_group(tree: dict[str, Any], field: dict[str, Any]) -> dict[str, Any] | None:
    """The schema of the group that a field holds. None for a plain value."""
    reference = field.get("$ref", "").removeprefix("#/$defs/")
    group: dict[str, Any] | None = tree["$defs"][reference] if reference else None
    return group


def join_description(node: dict[str, Any]) -> str:
    """Return the docstring of a field or group on one line."""
    return " ".join(node.get("description", "").split())


def _describe_fields(group: str, schema: dict[str, Any]) -> Iterator[Description]:
    prefix = f"{PREFIX}{group.upper()}_" if group else PREFIX
    for name, field in schema["properties"].items():
        if "$ref" not in field:
            yield Description(
                variable=f"{prefix}{name.upper()}",
                group=group,
                value=_describe_value(field),
                default=_format_default(field),
                required=name in schema.get("required", ()),
                shapes=field["effect"] == "shapes",
                text=join_description(field),
            )


def _describe_value(field: dict[str, Any]) -> str:
    kind = field.get("anyOf", [field])[0]
    options = kind.get("items", kind).get("enum", ())
    if options:
        return ", ".join(f"`{option}`" for option in options)
    bounds = [text.format(f"{kind[bound]:,}") for bound, text in BOUNDS.items() if bound in kind]
    names = {"string": "text", "array": "names, separated by commas"}
    return " ".join([names.get(kind["type"], kind["type"]), *bounds])


def _format_default(field: dict[str, Any]) -> str:
    default = field.get("default")
    if isinstance(default, list):
        default = ",".join(default)
    if default in ("", None):
        return ""
    return default if isinstance(default, str) else json.dumps(default)

"""Turn frozen values into what JSON has."""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np


def list_fields(value: Any) -> dict[str, Any]:
    """Return a dataclass as a dict, its values untouched.

    `dataclasses.asdict` would copy the values, which a read-only mapping does not allow.
    """
    values = {}
    for field in fields(value):
        values[field.name] = getattr(value, field.name)
    return values


def convert_to_json(value: Any) -> Any:
    """Convert to JSON's own types.

    NumPy's numbers become Python's, a number that is not finite becomes null, and any other value
    becomes its text.
    """
    match value:
        case Mapping():
            converted = {}
            for key, item in value.items():
                converted[str(key)] = convert_to_json(item)
            return converted
        case list() | tuple():
            return [convert_to_json(item) for item in value]
        case np.generic():
            return convert_to_json(value.item())
        case float():
            # JSON has neither NaN nor infinity.
            return value if math.isfinite(value) else None
        case None | bool() | int() | str():
            return value
        case _:
            return str(value)

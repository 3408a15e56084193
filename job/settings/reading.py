"""Read the environment once, and say everything that is wrong with it at once."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from job.catalogue import BACKBONES
from job.errors import SettingsError
from job.settings.fields import nearest
from job.settings.tree import PREFIX, SERVICE_ADDRESS, Settings, variables

# What Kubernetes injects for a Service whose name begins with "graft".
SERVICE_LINK = re.compile(
    r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$"
)
# A pattern in words.
EXPECTED = {
    "GRAFT_NAME": "expected small letters, digits, `-` and `.`, at most 63, with a letter or digit at both ends",
    "GRAFT_BACKBONE_WEIGHTS_SHA256": "expected 64 hex digits, the letters small",
    "GRAFT_TELEMETRY_PUSH_URL": "expected http://… or https://…",
}


def load() -> Settings:
    """Read the environment.

    Raises:
        SettingsError: every problem at once: unknown variables, values out of range, combinations
        that cannot work.
    """
    problems = list(_unknown(os.environ))
    try:
        settings = Settings()
    except ValidationError as error:
        raise _refused([*problems, *map(_explain, error.errors(include_url=False))]) from error
    problems += _contradictions(settings)
    if problems:
        raise _refused(problems)
    return settings


def _refused(problems: list[str]) -> SettingsError:
    many = f"{len(problems)} settings cannot work" if len(problems) > 1 else "A setting cannot work"
    return SettingsError(
        f"{many}:", "Correct them; docs/settings.md describes each one.", tuple(problems)
    )


def _unknown(environment: Mapping[str, str]) -> Iterator[str]:
    known = [name for name, _ in variables()]
    for name, value in sorted(environment.items()):
        if (
            not name.startswith(PREFIX)
            or name in known
            or SERVICE_LINK.search(name)
            or SERVICE_ADDRESS.match(value)
        ):
            continue
        yield f"{name} is unknown; the nearest setting is {nearest(name, known)}."


def _explain(error: Any) -> str:
    variable = (
        PREFIX + "_".join(str(part) for part in error["loc"] if isinstance(part, str)).upper()
    )
    if error["type"] == "missing":
        required = (
            f"{variable}_URI"
            if variable.removeprefix(PREFIX) in ("DATASET", "OUTPUT")
            else variable
        )
        return f"{required} is required and not set."
    message = EXPECTED.get(variable) if error["type"] == "string_pattern_mismatch" else None
    message = message or error["msg"].removeprefix("Value error, ")
    return f"{variable}={error['input']!r}: {message[0].lower()}{message[1:]}."


def _contradictions(settings: Settings) -> Iterator[str]:
    """Combinations of valid values that cannot work, each with its cure."""
    least = BACKBONES[settings.backbone.name].least_size
    if settings.image_size < least:
        yield (
            f"GRAFT_BACKBONE_IMAGE_SIZE={settings.image_size} is too small for {settings.backbone.name}: "
            f"use {least} or more."
        )
    if settings.transfer.mode == "none" and settings.backbone.weights == "none":
        yield "GRAFT_TRANSFER_MODE=none keeps GRAFT_BACKBONE_WEIGHTS=none as they are, random: use `all`."
    if "saved_model" not in settings.export.formats:
        yield f"GRAFT_EXPORT_FORMATS={','.join(settings.export.formats)} lacks saved_model: add it."
    if settings.backbone.weights_sha256 and settings.backbone.weights.startswith(
        ("none", "release:")
    ):
        yield f"GRAFT_BACKBONE_WEIGHTS={settings.backbone.weights} takes no GRAFT_BACKBONE_WEIGHTS_SHA256: unset it."
    if settings.training.batch_size % settings.devices.logical_cpus:
        yield (
            f"GRAFT_TRAINING_BATCH_SIZE={settings.training.batch_size} does not divide over "
            f"GRAFT_DEVICES_LOGICAL_CPUS={settings.devices.logical_cpus}: make it a multiple."
        )

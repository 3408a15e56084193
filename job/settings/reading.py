"""Read the settings from an environment, and name everything that is wrong with it at once."""

import os
import re
from collections.abc import Iterator, Mapping

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource

from job.catalogue import BACKBONES
from job.errors import SettingsError
from job.settings.describing import find_nearest_variable
from job.settings.fields import AUTO
from job.settings.groups import BackboneSettings
from job.settings.nesting import find_nesting
from job.settings.tree import PREFIX, VARIABLES, Settings

# What Kubernetes injects for a Service whose name begins with "graft".
SERVICE_LINK = re.compile(
    r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$"
)
# The same under the name of a setting: a Service graft-telemetry brings
# GRAFT_TELEMETRY_PORT=tcp://10.0.0.1:80.
SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")
# In words, because a pattern explains nothing.
EXPECTED_BY_PATTERN = {
    "GRAFT_NAME": "expected small letters, digits, `-` and `.`, at most 63, "
    "with a letter or digit at both ends",
    "GRAFT_BACKBONE_WEIGHTS_SHA256": "expected 64 hex digits, the letters small",
    "GRAFT_TELEMETRY_PUSH_URL": "expected http://… or https://…",
}
MISSING = "is required and not set."


class MappingSource(EnvSettingsSource):
    """Reads known variables from a given mapping; an empty value is an unset one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        values: dict[str, str | None] = {}
        for name, value in self._environment.items():
            if name in VARIABLES and value and not SERVICE_ADDRESS.match(value):
                # The base class looks names up in lower case.
                values[name.lower()] = value
        return values


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from the variables of an environment, by default the process's own.

    Raises:
        SettingsError: every problem at once: unknown variables, values out of range, combinations
            that cannot work.
    """
    problems = list(_find_unknown(environment))
    try:
        settings = Settings(**MappingSource(environment)())
    except ValidationError as error:
        problems += map(_explain_error, error.errors(include_url=False))
        raise _refuse_settings(problems) from error
    # Only valid values can be compared with each other.
    problems += _find_contradictions(settings)
    if problems:
        raise _refuse_settings(problems)
    return settings


def _refuse_settings(problems: list[str]) -> SettingsError:
    missing = [problem for problem in problems if problem.endswith(MISSING)]
    cures = []
    if len(missing) < len(problems):
        them = "it" if len(problems) == 1 else "them"
        cures.append(
            f"Correct {them}. `graft settings --describe NAME` says what a setting may be."
        )
    if missing:
        cures.append("Give what is missing: `graft run DATA OUTPUT`, or these variables.")
    many = f"{len(problems)} settings cannot work" if len(problems) > 1 else "A setting cannot work"
    return SettingsError(
        f"{many}:",
        " ".join(cures),
        tuple(problems),
    )


def _find_unknown(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in sorted(environment.items()):
        if not name.startswith(PREFIX) or name in VARIABLES:
            continue
        if SERVICE_LINK.search(name) or SERVICE_ADDRESS.match(value):
            continue
        nearest = find_nearest_variable(name)
        hint = f"; the nearest setting is {nearest}" if nearest else ""
        yield f"{name} is unknown{hint}."


def _explain_error(error: ErrorDetails) -> str:
    """Return a problem as a sentence that begins with the name of the variable."""
    # A number in a location is an index in a list, which is not part of the name.
    parts = [part for part in error["loc"] if isinstance(part, str)]
    variable = f"{PREFIX}{'_'.join(parts)}".upper()
    if error["type"] == "missing":
        # Where a whole group is missing, it is the group's address that is required.
        if variable not in VARIABLES:
            variable = f"{variable}_URI"
        return f"{variable} {MISSING}"

    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "string_pattern_mismatch":
        message = EXPECTED_BY_PATTERN.get(variable, message)
    if variable in VARIABLES and VARIABLES[variable].is_secret:
        received = "…"
    else:
        # A user name and a password before the bucket must not be repeated.
        received = re.sub(r"//[^/]*@", "//…@", repr(error["input"]))
    return f"{variable}={received}: {message[0].lower()}{message[1:]}."


def _find_contradictions(settings: Settings) -> Iterator[str]:
    """Yield combinations of valid values that cannot work, each with its cure."""
    backbone, training = settings.backbone, settings.training
    yield from _find_backbone_contradictions(backbone)
    yield from find_nesting(settings)
    if settings.transfer.mode == "none" and backbone.weights == "none":
        yield (
            "GRAFT_TRANSFER_MODE=none keeps GRAFT_BACKBONE_WEIGHTS=none as they are, random: "
            "use `all`."
        )
    if settings.head.pooling == "stages" and settings.transfer.mode in ("part", "all"):
        yield (
            f"GRAFT_HEAD_POOLING=stages needs a frozen backbone, and GRAFT_TRANSFER_MODE="
            f"{settings.transfer.mode} retrains it: use `none`, or another pooling."
        )
    formats = settings.export.formats
    if "saved_model" not in formats:
        yield f"GRAFT_EXPORT_FORMATS={','.join(formats)} lacks saved_model: add it."
    # Each logical CPU computes an equal share of a batch.
    cpus = settings.devices.logical_cpus
    if training.batch_size % cpus:
        yield (
            f"GRAFT_TRAINING_BATCH_SIZE={training.batch_size} does not divide over "
            f"GRAFT_DEVICES_LOGICAL_CPUS={cpus}: make it a multiple."
        )


def _find_backbone_contradictions(backbone: BackboneSettings) -> Iterator[str]:
    """Yield those of the `backbone` group alone."""
    for name in backbone.names:
        size, least = backbone.find_size(name), BACKBONES[name].least_size
        if size < least:
            yield (
                f"GRAFT_BACKBONE_IMAGE_SIZE={size} is too small for {name}: use {least} or more."
            )
    if backbone.weights_sha256 and backbone.weights.startswith(("none", "release:")):
        yield (
            f"GRAFT_BACKBONE_WEIGHTS={backbone.weights} takes no GRAFT_BACKBONE_WEIGHTS_SHA256: "
            "unset it."
        )
    if backbone.name != AUTO:
        return
    if not backbone.names:
        smallest = min(backbone.candidates, key=lambda name: BACKBONES[name].parameters)
        yield (
            f"GRAFT_BACKBONE_MOST_PARAMETERS={backbone.most_parameters} leaves no candidate: the "
            f"smallest is {smallest} with {BACKBONES[smallest].parameters}."
        )
    if backbone.weights != "imagenet":
        yield (
            f"GRAFT_BACKBONE_WEIGHTS={backbone.weights} does not go with GRAFT_BACKBONE_NAME=auto, "
            "which compares several backbones: use `imagenet`, or name the backbone."
        )
    elif backbone.weights_sha256:
        yield (
            "GRAFT_BACKBONE_WEIGHTS_SHA256 is the hash of one file, and GRAFT_BACKBONE_NAME=auto "
            "reads several: unset it."
        )

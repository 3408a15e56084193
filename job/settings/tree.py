"""The tree of all settings, and the names of the variables that they come from."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from job.catalogue import BACKBONES
from job.settings.fields import Group, shapes
from job.settings.groups import (
    BackboneSettings,
    CacheSettings,
    CheckpointSettings,
    DatasetSettings,
    DevicesSettings,
    ExportSettings,
    GateSettings,
    HeadSettings,
    OutputSettings,
    ResultSettings,
    TelemetrySettings,
    TrainingSettings,
    TransferSettings,
)

PREFIX = "GRAFT_"
# Kubernetes injects GRAFT_TELEMETRY_PORT=tcp://10.0.0.1:80 for a Service of the name
# graft-telemetry.
SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


class _Environment(EnvSettingsSource):
    """The known variables alone, without what Kubernetes injects; an empty one is unset."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        known = {name for name, _ in variables()}
        return {
            name.lower(): value
            for name, value in os.environ.items()
            if name in known and value and not SERVICE_ADDRESS.match(value)
        }


class Settings(BaseSettings):
    """Everything that a run can be told."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
    )

    name: str = shapes("model", pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")
    """The model's name: the folder under the output URI and the label of its metrics."""
    seed: int = shapes(0, ge=0, le=2**31 - 1)
    """Seed of initial weights, order and augmentation. The split does not depend on it."""
    again: str = shapes("", max_length=63)
    """Any text; another one asks for a new run of what has already been released."""
    dataset: DatasetSettings
    output: OutputSettings
    backbone: BackboneSettings = BackboneSettings()
    head: HeadSettings = HeadSettings()
    transfer: TransferSettings = TransferSettings()
    training: TrainingSettings = TrainingSettings()
    gate: GateSettings = GateSettings()
    export: ExportSettings = ExportSettings()
    cache: CacheSettings = CacheSettings()
    result: ResultSettings = ResultSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    devices: DevicesSettings = DevicesSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (_Environment(settings_cls),)

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""
        return self.backbone.image_size or BACKBONES[self.backbone.name].default_size

    def values(self) -> dict[str, Any]:
        """Every value by variable name, as JSON types."""
        dump = self.model_dump(mode="json")
        return {
            variable: dump[group][variable.removeprefix(f"{PREFIX}{group}_".upper()).lower()]
            if group
            else dump[name]
            for variable, (group, _) in variables()
            if (name := variable.removeprefix(PREFIX).lower())
        }

    def shaping(self) -> dict[str, Any]:
        """The values that decide which model comes out, by variable name."""
        values = self.values()
        return {
            variable: values[variable]
            for variable, (_, field) in variables()
            if _effect(field) == "shapes"
        }

    def written(self) -> dict[str, Any]:
        """What a release remembers of its settings: equal ones over an equal listing give the same model."""
        return {"GRAFT_DATASET_URI": self.dataset.uri, **self.shaping()}


_TOP = {
    f"{PREFIX}{name.upper()}": name
    for name, field in Settings.model_fields.items()
    if not (isinstance(field.annotation, type) and issubclass(field.annotation, Group))
}


def _effect(field: Any) -> str:
    return str(field.json_schema_extra["effect"])


def variables() -> Iterator[tuple[str, tuple[str, Any]]]:
    """Every variable with its group (`""` at the top) and its pydantic field, in the order of the declaration."""
    for name, field in Settings.model_fields.items():
        if (variable := f"{PREFIX}{name.upper()}") in _TOP:
            yield variable, ("", field)
            continue
        for key, inner in field.annotation.model_fields.items():  # type: ignore[union-attr]
            yield f"{variable}_{key.upper()}", (name, inner)

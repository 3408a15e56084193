"""The tree of all settings, and the variables that set its fields."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from job.settings import groups, operation
from job.settings.fields import Group, shapes

PREFIX = "GRAFT_"


class Settings(BaseSettings):
    """Everything that can be set for a run."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        # The first word after the prefix is the group: GRAFT_TRAINING_BATCH_SIZE.
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
    """Any text. Another text asks for a new run of what has already been released."""
    dataset: groups.DatasetSettings
    output: groups.OutputSettings
    backbone: groups.BackboneSettings = groups.BackboneSettings()
    head: groups.HeadSettings = groups.HeadSettings()
    transfer: groups.TransferSettings = groups.TransferSettings()
    training: groups.TrainingSettings = groups.TrainingSettings()
    gate: groups.GateSettings = groups.GateSettings()
    trigger: groups.TriggerSettings = groups.TriggerSettings()
    export: groups.ExportSettings = groups.ExportSettings()
    cache: operation.CacheSettings = operation.CacheSettings()
    result: operation.ResultSettings = operation.ResultSettings()
    telemetry: operation.TelemetrySettings = operation.TelemetrySettings()
    checkpoint: operation.CheckpointSettings = operation.CheckpointSettings()
    devices: operation.DevicesSettings = operation.DevicesSettings()
    plan: operation.PlanSettings = operation.PlanSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the base class fixes the name
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # Not the environment of this process: `load` names the one that it reads.
        return (init_settings,)

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels. Of several candidates it is the largest one's."""
        backbone = self.backbone
        return max(backbone.find_size(name) for name in backbone.names)

    def values(self) -> dict[str, Any]:
        """Return every value by variable name, as JSON types."""
        dump = self.model_dump(mode="json")
        values = {}
        for variable in VARIABLES.values():
            fields = dump[variable.group] if variable.group else dump
            values[variable.name] = fields[variable.key]
        return values

    def shaping_values(self) -> dict[str, Any]:
        """Return the values that decide which model comes out, by variable name."""
        values = self.values()
        return {name: values[name] for name in VARIABLES if VARIABLES[name].effect == "shapes"}

    def recorded_values(self) -> dict[str, Any]:
        """Return what a release records: equal values and images give the same model."""
        return {"GRAFT_DATASET_URI": self.dataset.uri, **self.shaping_values()}


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable: `key` is its field in `group`, which is empty at the top."""

    name: str
    group: str
    key: str
    field: FieldInfo

    @property
    def effect(self) -> str:
        """`shapes` or `runs`, as the field was declared."""
        extra = self.field.json_schema_extra
        return str(extra["effect"]) if isinstance(extra, dict) else ""

    @property
    def is_secret(self) -> bool:
        """Whether no message may repeat its value."""
        return self.field.annotation is SecretStr


def _list_variables() -> Iterator[Variable]:
    for name, field in Settings.model_fields.items():
        upper = f"{PREFIX}{name.upper()}"
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Group):
            for key, inner in annotation.model_fields.items():
                yield Variable(f"{upper}_{key.upper()}", name, key, inner)
        else:
            yield Variable(upper, "", name, field)


# Every variable by its name, in the order of the declaration.
VARIABLES: Final[Mapping[str, Variable]] = MappingProxyType(
    {variable.name: variable for variable in _list_variables()}
)

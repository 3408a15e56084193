"""The one typed declaration of all settings, read once from environment variables `GRAFT_*`.

Fields that are declared by `shapes(...)` decide which model comes out, and enter the run's
identity. Fields that are declared by `runs(...)` only say how the work is done.
"""

from job.settings.describing import Description, describe_settings, select_descriptions
from job.settings.fields import (
    AUTO,
    DtypePolicy,
    Formats,
    Group,
    ImageFit,
    Metric,
    Pooling,
    Precision,
    SplitName,
    TransferMode,
)
from job.settings.groups import (
    BackboneSettings,
    DatasetSettings,
    ExportSettings,
    GateSettings,
    HeadSettings,
    OutputSettings,
    TrainingSettings,
    TransferSettings,
    TriggerSettings,
)
from job.settings.operation import (
    CacheSettings,
    CheckpointSettings,
    DevicesSettings,
    PlanSettings,
    ResultSettings,
    TelemetrySettings,
)
from job.settings.reading import load
from job.settings.sources import name_variable, parse_assignment, read_env_file
from job.settings.templates import compose_env_file, compose_values
from job.settings.tree import PREFIX, VARIABLES, Settings, Variable

__all__ = [
    "AUTO",
    "PREFIX",
    "VARIABLES",
    "BackboneSettings",
    "CacheSettings",
    "CheckpointSettings",
    "DatasetSettings",
    "Description",
    "DevicesSettings",
    "DtypePolicy",
    "ExportSettings",
    "Formats",
    "GateSettings",
    "Group",
    "HeadSettings",
    "ImageFit",
    "Metric",
    "OutputSettings",
    "PlanSettings",
    "Pooling",
    "Precision",
    "ResultSettings",
    "Settings",
    "SplitName",
    "TelemetrySettings",
    "TrainingSettings",
    "TransferMode",
    "TransferSettings",
    "TriggerSettings",
    "Variable",
    "compose_env_file",
    "compose_values",
    "describe_settings",
    "load",
    "name_variable",
    "parse_assignment",
    "read_env_file",
    "select_descriptions",
]

"""The one typed declaration of what a run can be told, read once from environment variables `GRAFT_*`.

`shapes(...)` fields decide which model comes out and enter the run's identity; `runs(...)` fields
only say how the work is done.
"""

from job.settings.fields import (
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
from job.settings.reading import load
from job.settings.tree import PREFIX, Settings, variables

__all__ = [
    "PREFIX",
    "BackboneSettings",
    "CacheSettings",
    "CheckpointSettings",
    "DatasetSettings",
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
    "Pooling",
    "Precision",
    "ResultSettings",
    "Settings",
    "SplitName",
    "TelemetrySettings",
    "TrainingSettings",
    "TransferMode",
    "TransferSettings",
    "load",
    "variables",
]

"""The one typed declaration of what a run can be told, read once from environment variables `GRAFT_*`.

Every field is followed by a sentence: what it is, its unit and why this default. `shapes(...)` fields decide which model comes
out and enter the run's identity; `runs(...)` fields only say how the work is done. `docs/settings.md` and the schema of the
chart are generated from here.
"""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from job.catalogue import BACKBONES
from job.errors import SettingsError

PREFIX = "GRAFT_"
# What Kubernetes injects for a Service whose name begins with "graft".
SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$")
SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Formats = tuple[Literal["saved_model", "keras", "onnx", "litert"], ...]
Metric = Literal["accuracy", "balanced_accuracy", "macro_f1"]


def shapes(default: Any = ..., **constraints: Any) -> Any:
    """A field that decides which model comes out: part of the run's identity."""
    return Field(default, json_schema_extra={"effect": "shapes"}, **constraints)


def runs(default: Any = ..., **constraints: Any) -> Any:
    """A field that only says how the work is done: not part of the run's identity."""
    return Field(default, json_schema_extra={"effect": "runs"}, **constraints)


def _address(value: str) -> str:
    if not re.match(r"(s3://[^/]|file:///)", value):
        raise ValueError("expected s3://bucket/prefix or file:///folder")
    return value


def _optional_address(value: str) -> str:
    return _address(value) if value else value


def _weights(value: str) -> str:
    if value not in ("imagenet", "none"):
        try:
            _address(value.removeprefix("release:"))
        except ValueError as error:
            raise ValueError("expected imagenet, none, the URI of a file (s3://, file:///) or release:<uri>") from error
    return value


def _backbone(value: str) -> str:
    if value not in BACKBONES:
        raise ValueError(f"no such backbone; the nearest is {_nearest(value, BACKBONES)}")
    return value


def _nearest(word: str, words: Iterable[str]) -> str:
    return difflib.get_close_matches(word, list(words), n=1, cutoff=0)[0]


def _comma_separated(value: Any) -> Any:
    return tuple(filter(None, (part.strip() for part in value.split(",")))) if isinstance(value, str) else value


Address = Annotated[str, AfterValidator(_address)]
OptionalAddress = Annotated[str, AfterValidator(_optional_address)]


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


class DatasetSettings(Group):
    """Where the labelled images are."""

    uri: Address = runs()
    """`s3://bucket/prefix` or `file:///folder`: a folder per class, or one `.tar`, `.tar.gz`, `.zip`, `.csv` or `.jsonl`."""
    broken_share: Fraction = shapes(0.05)
    """Share of images that may be unreadable before the run stops: a few are normal, many mean the wrong folder."""


class OutputSettings(Group):
    """Where the release goes."""

    uri: Address = runs()
    """`s3://bucket/prefix` or `file:///folder`; the model's name is added to it."""


class BackboneSettings(Group):
    """The pre-trained network that already knows how to see."""

    name: Annotated[str, AfterValidator(_backbone)] = shapes("EfficientNetV2B0")
    """A classifier of `keras.applications` by its Keras name, or `EfficientNetLite0`. The default is accurate for its size."""
    weights: Annotated[str, AfterValidator(_weights)] = shapes("imagenet")
    """`imagenet`, the URI of a weights file, `release:<uri>` to continue from an earlier model, or `none` for random weights."""
    weights_sha256: str = shapes("", pattern=r"^([0-9a-f]{64})?$")
    """Expected SHA-256 of the weights file, as 64 hex digits; empty accepts what is there and records its hash."""
    mirror: OptionalAddress = runs("")
    """Prefix in a bucket or folder that holds Keras's weights files under their own names, for clusters without internet."""
    image_size: int | None = shapes(None, ge=16, le=2048)
    """Side of the square input in pixels; empty takes the size that the backbone was pre-trained at."""
    image_fit: Literal["letterbox", "crop", "squash"] = shapes("letterbox")
    """How a picture becomes square: whole on white, its centre, or stretched. The default loses nothing of the picture."""


class HeadSettings(Group):
    """The new classifier on top of the backbone."""

    pooling: Literal["avg", "max", "flatten"] = shapes("avg")
    """How the feature map becomes one vector. `avg` is position-free and small; `flatten` keeps the place of things."""
    units: int = shapes(0, ge=0, le=65536)
    """Width of a hidden ReLU layer; 0 is none, so that the best head can be solved for instead of trained."""
    dropout: float = shapes(0.2, ge=0, lt=1, allow_inf_nan=False)
    """Share of the features dropped at each step while the head is trained; a solved head has none."""


class TransferSettings(Group):
    """How much of the pre-trained network is retrained."""

    mode: Literal["auto", "none", "part", "all"] = shapes("auto")
    """Retrain none, a part or all of the backbone; `auto` looks at the data and writes down why."""
    probe: bool = shapes(True)
    """Fit the head on the frozen backbone before anything else is freed, so that its first steps do not spoil the backbone."""
    stages: int = shapes(1, ge=1, le=5)
    """How many of the backbone's last resolution stages `part` frees. The last stage is the most specific to ImageNet."""
    rate_factor: float = shapes(0.1, gt=0, le=1, allow_inf_nan=False)
    """Learning rate once the backbone is freed after a probe, as a factor: pre-trained weights need small steps."""


class TrainingSettings(Group):
    """The loop."""

    epochs: int = shapes(20, ge=1, le=10_000)
    """Passes over the training images at most, in each stage that is trained by steps."""
    batch_size: int = shapes(32, ge=1, le=65_536)
    """Images in a step, over all devices together."""
    learning_rate: float = shapes(1e-3, gt=0, le=10, allow_inf_nan=False)
    """Peak learning rate of Adam while the head is trained; Adam's usual one."""
    schedule: Literal["cosine", "constant"] = shapes("cosine")
    """Learning rate over time: linear warm-up then cosine decay to zero, or constant."""
    warmup: Fraction = shapes(0.1)
    """Share of the steps in which the rate rises from zero, with the cosine schedule."""
    augmentation: Literal["none", "light"] = shapes("light")
    """`light` flips, shifts, zooms and recolours a little at random; cached features and solved heads see plain images."""
    label_smoothing: float = shapes(0.0, ge=0, lt=1, allow_inf_nan=False)
    """Share of the target spread over all classes; 0 because the temperature already calibrates the model."""
    class_weights: Literal["none", "balanced"] = shapes("none")
    """`balanced` weighs each image by the inverse frequency of its class."""
    patience: int = shapes(5, ge=0)
    """Epochs without a better validation score after which a stage stops; 0 never stops early. The best weights are kept."""
    clip_norm: float = shapes(1.0, ge=0, allow_inf_nan=False)
    """Largest global norm of a gradient; 0 does not clip."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = shapes("auto")
    """Arithmetic of the layers; `auto` is bfloat16 on GPUs that have it and float32 elsewhere."""
    xla: bool = shapes(False)
    """Compile the gradient function with XLA: faster on GPUs, slow to start."""


class GateSettings(Group):
    """What a model must reach to be promoted."""

    metric: Metric = shapes("accuracy")
    """The score that gates, stops early and compares with the champion."""
    min_score: Fraction = runs(0.0)
    """Least test score; below it the release is kept, not promoted, and the exit code is 6."""
    tolerance: Fraction = runs(0.0)
    """How much worse than the champion a challenger may be and still be promoted."""


class ExportSettings(Group):
    """What is written for those who use the model."""

    formats: Annotated[Formats, NoDecode, BeforeValidator(_comma_separated)] = shapes(
        ("saved_model", "keras"), min_length=1
    )
    """Comma-separated: `saved_model`, `keras`, `onnx`, `litert`. `saved_model` is always among them: the champion is judged with it."""


class CacheSettings(Group):
    """Local disk that outlives a pod where it is a volume."""

    dir: Path = runs(Path("~/.cache/graft"))
    """Folder for images, weights and features, all kept by content digest."""
    limit: int | None = runs(None, gt=0)
    """Bytes that the cache may take; empty is the free space of the disk. The chart sets it below the volume's size."""


class ResultSettings(Group):
    """Where the outcome is written."""

    path: Path | None = runs(None)
    """File for the result's JSON, beside the termination message and the log's last line."""


class TelemetrySettings(Group):
    """What others can watch."""

    port: int = runs(8000, ge=0, le=65_535)
    """Port of `/metrics`, `/healthz` and the live page; 0 serves nothing."""
    host: str = runs("")
    """Address to listen on; empty is every one."""
    push_url: str = runs("", pattern=r"^(https?://.+)?$")
    """Prometheus Pushgateway for the outcome of the run; empty pushes nothing."""


class CheckpointSettings(Group):
    """How often the state of the training is made durable."""

    interval_seconds: float = runs(300, ge=0, allow_inf_nan=False)
    """Seconds between checkpoints in the bucket, which also come at the end of each stage and on SIGTERM."""


class DevicesSettings(Group):
    """The hardware that this run may count on."""

    gpus: int = runs(0, ge=0)
    """GPUs promised to this process: fewer visible ones end the run with 75. 0 promises nothing and uses what is there."""
    logical_cpus: int = runs(1, ge=1, le=64)
    """Split the CPU into so many devices under MirroredStrategy: a rehearsal of several GPUs."""
    threads: int = runs(0, ge=0, le=1024)
    """CPU threads of one operation; 0 takes all cores. Another number gives other last bits, so resuming says `exact: false`."""


class _Environment(EnvSettingsSource):
    """The known variables alone, without what Kubernetes injects for a Service such as `graft-telemetry`."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        known = {name for name, _ in variables()}
        return {
            name.lower(): value
            for name, value in os.environ.items()
            if name in known and not SERVICE_ADDRESS.match(value)
        }


class Settings(BaseSettings):
    """Everything that a run can be told."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        env_ignore_empty=True,
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
        cls, settings_cls: type[BaseSettings], **_: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (_Environment(settings_cls),)

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""
        return self.backbone.image_size or BACKBONES[self.backbone.name].default_size

    def shaping(self) -> dict[str, Any]:
        """The values that decide which model comes out, by variable name, as JSON types."""
        return {name: self.value(name) for name, (_, field) in variables() if _effect(field) == "shapes"}

    def value(self, variable: str) -> Any:
        """The value behind a variable name, as JSON types."""
        node: Any = self.model_dump(mode="json")
        for part in variable.removeprefix(PREFIX).lower().split("_", 1) if variable not in _TOP else [_TOP[variable]]:
            node = node[part]
        return node


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


def load() -> Settings:
    """Read the environment.

    Raises:
        SettingsError: with every problem at once: unknown variables, values out of range, combinations that cannot work.
    """
    problems = list(_unknown(os.environ))
    try:
        settings = Settings()  # type: ignore[call-arg]
    except ValidationError as error:
        raise _refused([*problems, *map(_explain, error.errors(include_url=False))]) from error
    problems += _contradictions(settings)
    if problems:
        raise _refused(problems)
    return settings


def _refused(problems: list[str]) -> SettingsError:
    many = f"{len(problems)} settings cannot work" if len(problems) > 1 else "a setting cannot work"
    return SettingsError(f"{many}:", "See docs/settings.md or `graft settings --help`.", tuple(problems))


def _unknown(environment: Mapping[str, str]) -> Iterator[str]:
    known = [name for name, _ in variables()]
    for name, value in sorted(environment.items()):
        if not name.startswith(PREFIX) or name in known or SERVICE_LINK.search(name) or SERVICE_ADDRESS.match(value):
            continue
        yield f"{name} is unknown; the nearest setting is {_nearest(name, known)}."


def _explain(error: Any) -> str:
    variable = PREFIX + "_".join(str(part) for part in error["loc"] if isinstance(part, str)).upper()
    if error["type"] == "missing":
        required = f"{variable}_URI" if variable.removeprefix(PREFIX) in ("DATASET", "OUTPUT") else variable
        return f"{required} is required and not set."
    message = error["msg"].removeprefix("Value error, ")
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
    if settings.backbone.weights_sha256 and not settings.backbone.weights.startswith(("s3://", "file://")):
        yield "GRAFT_BACKBONE_WEIGHTS_SHA256 goes with a URI in GRAFT_BACKBONE_WEIGHTS: unset it."
    if settings.training.batch_size % settings.devices.logical_cpus:
        yield (
            f"GRAFT_TRAINING_BATCH_SIZE={settings.training.batch_size} does not divide over "
            f"GRAFT_DEVICES_LOGICAL_CPUS={settings.devices.logical_cpus}: make it a multiple."
        )

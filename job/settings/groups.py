"""The groups of the settings. Every field is followed by a sentence: what it is, its unit and why this default.

`docs/settings.md` and the schema of the chart are generated from here.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from job.settings.fields import (
    Address,
    BackboneName,
    Formats,
    Fraction,
    Group,
    ImageFit,
    Metric,
    OptionalAddress,
    Pooling,
    Precision,
    WeightsSource,
    comma_separated,
    runs,
    shapes,
)


class DatasetSettings(Group):
    """Where the labelled images are."""

    uri: Address = runs()
    """`s3://bucket/prefix` or `file:///folder`: a folder a class, or one `.tar`, `.tgz`, `.zip`, `.csv` or `.jsonl`."""
    broken_share: Fraction = shapes(0.05)
    """Share of images that may be unreadable before the run stops: a few are normal, many mean the wrong folder."""


class OutputSettings(Group):
    """Where the release goes."""

    uri: Address = runs()
    """`s3://bucket/prefix` or `file:///folder`; the model's name is added to it."""


class BackboneSettings(Group):
    """The pre-trained network that already knows how to see."""

    name: BackboneName = shapes("EfficientNetV2B0")
    """A classifier of `keras.applications` by its name, or `EfficientNetLite0`. The default is good for its size."""
    weights: WeightsSource = shapes("imagenet")
    """`imagenet`, the URI of a file, `release:<uri>` to continue from a model of ours, or `none` for random ones."""
    weights_sha256: str = shapes("", pattern=r"^([0-9a-f]{64})?$")
    """SHA-256 that the weights file must have, as 64 hex digits; empty accepts what is there and notes its hash."""
    mirror: OptionalAddress = runs("")
    """Bucket prefix or folder with Keras's weights files under their own names, for clusters without internet."""
    image_size: int | None = shapes(None, ge=16, le=2048)
    """Side of the square input in pixels; empty takes the size that the backbone was pre-trained at."""
    image_fit: ImageFit = shapes("letterbox")
    """How a picture becomes square: whole on white, its centre, or stretched. The default loses nothing of it."""


class HeadSettings(Group):
    """The new classifier on top of the backbone."""

    pooling: Pooling = shapes("avg")
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
    """Fit the head on the frozen backbone first, so that a random head does not spoil the backbone once it is freed."""
    stages: int = shapes(1, ge=1, le=5)
    """How many of the last resolution stages `part` frees. The last one is the most specific to ImageNet."""
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
    """`light` flips, shifts, zooms and recolours a little at random. A head on a frozen backbone sees plain images."""
    label_smoothing: float = shapes(0.0, ge=0, lt=1, allow_inf_nan=False)
    """Share of the target spread over all classes; 0 because the temperature already calibrates the model."""
    class_weights: Literal["none", "balanced"] = shapes("none")
    """`balanced` weighs each image by the inverse frequency of its class."""
    patience: int = shapes(5, ge=0)
    """Epochs without a better validation score that end a stage; 0 never does. The best weights are kept anyway."""
    clip_norm: float = shapes(1.0, ge=0, allow_inf_nan=False)
    """Largest global norm of a gradient; 0 does not clip."""
    precision: Precision = shapes("auto")
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

    formats: Annotated[Formats, NoDecode, BeforeValidator(comma_separated)] = shapes(
        ("saved_model", "keras"), min_length=1
    )
    """`saved_model`, `keras`, `onnx`, `litert`, separated by commas; always `saved_model`, which judges a champion."""


class CacheSettings(Group):
    """Local disk that outlives a pod where it is a volume."""

    dir: Annotated[Path, AfterValidator(Path.expanduser)] = runs(
        Path("~/.cache/graft"), validate_default=True
    )
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
    """GPUs promised to this process: with fewer the run ends with 75. 0 promises nothing and uses what is there."""
    logical_cpus: int = runs(1, ge=1, le=64)
    """Split the CPU into so many devices under MirroredStrategy: a rehearsal of several GPUs."""
    threads: int = runs(0, ge=0, le=1024)
    """CPU threads of one operation; 0 takes all cores. Another number gives other last bits."""
    join_seconds: float = runs(900, gt=0, allow_inf_nan=False)
    """How long one of several workers waits for the others, before it ends with 75. Longer than a Job's back-off."""

"""The groups of the settings. A docstring follows each field: what it is, its unit, its default.

`docs/settings.md` and the schema of the chart are generated from here.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

from job.addresses import Access
from job.catalogue import BACKBONES
from job.settings.fields import (
    AUTO,
    Address,
    BackboneName,
    CandidateNames,
    EncodingName,
    Evidence,
    Formats,
    Fraction,
    Group,
    ImageFit,
    Metric,
    OptionalAddress,
    Pooling,
    Precision,
    WeightsSource,
    runs,
    shapes,
    split_at_commas,
)


class DatasetSettings(Group):
    """Where the labelled images are."""

    uri: Address = runs()
    """`s3://bucket/prefix` or `file:///folder`: one folder per class, or one `.tar`, `.tar.gz`,
    `.tar.bz2`, `.tar.xz`, `.tar.zst`, `.zip`, `.csv`, `.tsv`, `.lst`, `.jsonl` or `.manifest`
    file."""
    broken_share: Fraction = shapes(0.05)
    """Share of images that may be unreadable before the run stops: a few are normal, many mean
    the wrong folder."""
    class_depth: int | None = shapes(None, ge=1, le=32)
    """Which folder of each path below the URI names the class: 1 is the first. Folders around it
    that are named like a part of a split say the split. Empty finds it out."""
    archive_encoding: EncodingName = shapes("")
    """Encoding of the names in an archive that are not UTF-8, such as `cp437`, `cp1252`, `gbk` or
    `shift_jis`. Empty refuses such names."""
    image_column: str = shapes("")
    """Column of a table that names the images. Empty finds it by its heading, such as `image` or
    `file_name`. In a table without a heading line it is the number of the column, from 1."""
    label_column: str = shapes("")
    """Column of a table that holds the labels, likewise: by a heading such as `label` or
    `class`."""
    missing_label: Literal["refuse", "skip", "keep"] = shapes("refuse")
    """What becomes of rows with an empty label or a word such as `nan`, `null` or `None`: the run
    stops, or they are left out, or such words are classes. An empty label is never a class."""
    anonymous: bool = runs(False)
    """Read the images without credentials, as public buckets allow."""
    requester_pays: bool = runs(False)
    """Agree to pay for the requests, as the owner of the bucket may ask of those who read it."""

    @property
    def access(self) -> Access:
        """How requests for the images are made."""
        return Access(anonymous=self.anonymous, requester_pays=self.requester_pays)


class OutputSettings(Group):
    """Where the release goes."""

    uri: Address = runs()
    """`s3://bucket/prefix` or `file:///folder`. The model's name is added to it."""
    keep: int | None = runs(None, ge=1)
    """How many of the newest releases of the model are kept. Each run that releases deletes older
    ones, but never the champion, the one before it, or one that their decisions name. Empty keeps
    all."""
    serving: bool = runs(False)
    """Also put each champion into `serving/<n>/`, for servers that watch a folder for the highest
    number. Once there is one, every promotion and roll-back makes the next."""


class BackboneSettings(Group):
    """The pre-trained network."""

    name: BackboneName = shapes("EfficientNetV2B0")
    """A classifier of `keras.applications` by its name, or `EfficientNetLite0`, `1` or `2`. The
    default is accurate for its size. `auto` measures which of the candidates is best."""
    # Without NoDecode, pydantic-settings would expect a JSON array in the variable.
    candidates: Annotated[CandidateNames, NoDecode, BeforeValidator(split_at_commas)] = shapes(
        ("MobileNetV3Large", "EfficientNetV2B0", "EfficientNetV2B2", "ConvNeXtTiny")
    )
    """The backbones that `auto` compares, separated by commas. Each needs its ImageNet weights."""
    most_parameters: int | None = shapes(None, gt=0)
    """Most parameters that a backbone which `auto` chooses may have. Empty is no limit."""
    most_milliseconds: float | None = shapes(None, gt=0, allow_inf_nan=False)
    """Most milliseconds that a backbone which `auto` chooses may take for an image. It is measured
    where the run computes, so another machine may choose another backbone. Empty is no limit."""
    weights: WeightsSource = shapes("imagenet")
    """`imagenet`, the URI of a file, `release:<uri>` to continue from an earlier release, or `none`
    for random weights."""
    weights_sha256: str = shapes("", pattern=r"^([0-9a-f]{64})?$")
    """SHA-256 that the weights file must have, as 64 hex digits. Empty accepts any file and records
    its hash."""
    mirror: OptionalAddress = runs("")
    """Bucket prefix or folder with Keras's weights files under their own names, for clusters
    without internet."""
    image_size: int | None = shapes(None, ge=16, le=2048)
    """Side of the square input in pixels. Empty takes the size that the backbone was pre-trained
    at."""
    image_fit: ImageFit = shapes("letterbox")
    """How an image becomes square: `letterbox` pads it with white, `crop` takes its centre,
    `squash` stretches it. The default loses no part of it."""

    @property
    def names(self) -> tuple[str, ...]:
        """The backbone, or with `auto` each candidate within the limit of parameters."""
        if self.name != AUTO:
            return (self.name,)
        most = self.most_parameters
        # A dictionary, because it keeps the order and drops a name that is there twice.
        given = dict.fromkeys(self.candidates)
        return tuple(name for name in given if not most or BACKBONES[name].parameters <= most)

    def find_size(self, name: str) -> int:
        """The side of the square input in pixels, with this backbone."""
        return self.image_size or BACKBONES[name].default_size

    def resolve(self, name: str) -> "BackboneSettings":
        """The same settings with a backbone that has been chosen, and its size."""
        return self.model_copy(update={"name": name, "image_size": self.find_size(name)})


class HeadSettings(Group):
    """The new classifier on top of the backbone."""

    pooling: Pooling = shapes("avg")
    """How the feature map becomes one vector. `avg` and `max` ignore positions and keep the head
    small. `flatten` keeps positions. `stages` adds the averages of the earlier stages of a backbone
    that stays frozen."""
    units: int = shapes(0, ge=0, le=65536)
    """Width of a hidden ReLU layer. 0 means no hidden layer, so that the best head can be solved
    for instead of trained."""
    dropout: float = shapes(0.2, ge=0, lt=1, allow_inf_nan=False)
    """Share of the features that are dropped at each step while the head is trained. A solved head
    has no dropout."""


class TransferSettings(Group):
    """How much of the pre-trained network is retrained."""

    mode: Literal["auto", "none", "part", "all"] = shapes("auto")
    """Retrain none, a part or all of the backbone. `auto` measures which is best on the validation
    images, and records the reason."""
    budget: float = shapes(1.5, ge=0, le=100, allow_inf_nan=False)
    """What `auto` may spend on the choice and the training, as a multiple of the work of one run of
    `all`. The work is counted in images times layers. 0 never retrains the backbone."""
    probe: bool = shapes(True)
    """Fit the head on the frozen backbone first, so that the gradients of a random head do not
    damage the backbone."""
    stages: int = shapes(1, ge=1, le=5)
    """How many of the last resolution stages `part` retrains. The last one is the most specific to
    ImageNet."""
    rate_factor: float = shapes(0.1, gt=0, le=1, allow_inf_nan=False)
    """Factor on the learning rate while the backbone is retrained after a probe: pre-trained
    weights need small steps."""


class TrainingSettings(Group):
    """The training loop."""

    epochs: int = shapes(20, ge=1, le=10_000)
    """Most passes over the training images in each stage that is trained by steps."""
    batch_size: int = shapes(32, ge=1, le=65_536)
    """Images in a step, over all devices together."""
    learning_rate: float = shapes(1e-3, gt=0, le=10, allow_inf_nan=False)
    """Peak learning rate of Adam while the head is trained. The default is Adam's usual one."""
    schedule: Literal["cosine", "constant"] = shapes("cosine")
    """Learning rate over time: linear warm-up then cosine decay to zero, or constant."""
    warmup: Fraction = shapes(0.1)
    """Share of the steps in which the learning rate rises from zero, with the cosine schedule."""
    augmentation: Literal["none", "light"] = shapes("light")
    """`light` flips, shifts, zooms and recolours a little at random. A head on a frozen backbone is
    trained without augmentation."""
    views: int = shapes(0, ge=0, le=64)
    """Augmented views of each training image, which the epochs see in turn. Each is a function of
    the seed and the content of the image. The frozen layers below a retrained `part` then run once
    per view, as far as the activations fit into the cache. 0 draws new views in every epoch."""
    label_smoothing: float = shapes(0.0, ge=0, lt=1, allow_inf_nan=False)
    """Share of the target that is spread over all classes. 0, because temperature scaling already
    calibrates the model."""
    class_weights: Literal["none", "balanced"] = shapes("none")
    """`balanced` weights each image by the inverse frequency of its class."""
    patience: int = shapes(5, ge=0)
    """Epochs without a better validation score that end a stage. 0 never ends one early. The best
    weights are kept in any case."""
    clip_norm: float = shapes(1.0, ge=0, allow_inf_nan=False)
    """Largest global norm of a gradient. 0 does not clip."""
    precision: Precision = shapes("auto")
    """Arithmetic of the layers. `auto` is bfloat16 on GPUs that support it and float32
    elsewhere."""
    xla: bool = shapes(False)
    """Compile the gradient function with XLA: faster on GPUs, slow to start."""


class GateSettings(Group):
    """What a model must reach to be promoted."""

    metric: Metric = shapes("accuracy")
    """The score of the gate, of early stopping and of the comparison with the champion."""
    min_score: Fraction = runs(0.0)
    """Least test score. Below it the release is kept but not promoted, and the exit code is 6."""
    tolerance: Fraction = runs(0.0)
    """How much worse than the champion a challenger may be and still be promoted."""
    evidence: Evidence = runs("point")
    """How sure it must be that a challenger is not worse: `point` compares the two scores,
    `interval` the lower end of the paired 95 % interval of their difference."""


class TriggerSettings(Group):
    """What makes new images worth a run, once there is a release of the same settings and code."""

    min_new_images: int = runs(0, ge=0)
    """Train only if at least so many images are new since the last release. One with another label
    is new. 0 sets no number."""
    min_new_share: Fraction = runs(0.0)
    """Train only if at least this share of the last release's images is new. Where a number is set
    too, one of them is enough. 0 sets no share."""
    drift_p: float | None = runs(None, ge=0.001, le=0.5)
    """Train only if new images differ from those of the last release, with a p-value of at most
    this. It is the rate of false alarms in one night. Where a number or a share is set too, one of
    them is enough. Empty makes no test."""
    cooldown_hours: float = runs(0.0, ge=0, allow_inf_nan=False)
    """Hours after a release in which new images start no further training."""

    @property
    def counts(self) -> bool:
        """Whether new images are counted."""
        return bool(self.min_new_images or self.min_new_share)

    @property
    def is_set(self) -> bool:
        """Whether anything but a change is asked for."""
        return bool(self.counts or self.drift_p or self.cooldown_hours)


class ExportSettings(Group):
    """The formats in which the model is released."""

    # Without NoDecode, pydantic-settings would expect a JSON array in the variable.
    formats: Annotated[Formats, NoDecode, BeforeValidator(split_at_commas)] = shapes(
        ("saved_model", "keras"), min_length=1
    )
    """`saved_model`, `keras`, `onnx`, `litert`, separated by commas. `saved_model` is always among
    them, because a champion is evaluated from it."""

"""Before a GPU is spent: `check` looks at everything that a run needs, `plan` shows what it would do."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from job import dataset, storage, telemetry
from job.catalogue import BACKBONES
from job.errors import DatasetError, JobError
from job.settings import Settings
from job.workers import Stop

if TYPE_CHECKING:
    from job.audit import Splits
    from job.transfer import Plan

SAMPLE = 32
TIMED_BATCH = 8


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One thing that was looked at: what, what is to be told, and the error if it cannot work."""

    what: str
    told: str
    error: JobError | None = None


def check(settings: Settings, keras_home: Path) -> Iterator[CheckResult]:
    """Look at each thing that a run needs; what fails does not hide the next one."""
    looks: tuple[tuple[str, Callable[[Settings, Path], str]], ...] = (
        ("settings", _settings),
        ("output", _output),
        ("devices", _devices),  # before TensorFlow has computed anything
        ("dataset", _dataset),
        ("weights", _weights),
    )
    for what, look in looks:
        try:
            yield CheckResult(what, look(settings, keras_home))
        except JobError as error:
            yield CheckResult(what, str(error).replace("\n", "\n" + " " * 20), error)


def _settings(settings: Settings, _: Path) -> str:
    return f"{settings.name}: {settings.backbone.name} at {settings.image_size} px, transfer {settings.transfer.mode}"


def _output(settings: Settings, _: Path) -> str:
    registry = storage.connect(settings.output.uri).child(settings.name)
    registry.probe()
    return f"{registry.uri} can be listed and written, and refuses what it should"


def _dataset(settings: Settings, _: Path) -> str:
    """What the listing says, and whether a sample of the images decodes."""
    listing = dataset.survey(settings.dataset)
    if listing.archive:
        return f"{listing.uri}: an archive of {listing.entries[0].size:,} bytes, opened in the run"
    keys = sorted(listing.places)
    sampled = set(keys[:: max(1, len(keys) // SAMPLE)])
    sample = replace(
        listing,
        entries=tuple(
            entry
            for entry in listing.entries
            if entry.key in sampled or entry.key not in listing.places
        ),
        places={key: place for key, place in listing.places.items() if key in sampled},
    )
    broken = _undecodable(
        dataset.fetch(sample, settings.dataset, settings.cache, telemetry.silent())
    )
    if len(broken) > len(sampled) * settings.dataset.broken_share:
        raise DatasetError(
            f"{len(broken)} of {len(sampled)} sampled images of {listing.uri} do not decode.",
            "Mend or remove them, or correct GRAFT_DATASET_URI.",
            tuple(broken),
        )
    classes = {place.label for place in listing.places.values()}
    return f"{len(keys):,} images in {len(classes)} classes; {len(sampled) - len(broken)} of {len(sampled)} sampled decode"


def _undecodable(data: dataset.Dataset) -> list[str]:
    import tensorflow as tf

    from job import images

    broken = []
    for record in data.records:
        try:
            images.decode(tf.constant(record.path.read_bytes()))
        except tf.errors.InvalidArgumentError:
            broken.append(record.name)
    return broken


def _weights(settings: Settings, keras_home: Path) -> str:
    from job import weights

    found = weights.locate(
        settings.backbone, BACKBONES[settings.backbone.name], settings.cache.dir, keras_home
    )
    return f"{found.origin}, sha256 {found.sha256[:16]}" if found.path else found.origin


def _devices(settings: Settings, _: Path) -> str:
    from job import workers

    return ", ".join(workers.join(settings.devices).devices)


def plan(settings: Settings, keras_home: Path) -> str:
    """The layers with their shapes, what would be retrained and why, and about how long it would take here."""
    from job import model, transfer
    from job.pipeline import RunContext, phases

    quiet = telemetry.silent()
    data = dataset.fetch(dataset.survey(settings.dataset), settings.dataset, settings.cache, quiet)
    team = phases.joined(settings, RunContext(quiet, Stop(), keras_home))
    _, splits = phases.audited(settings, data, quiet)
    weights, splits = phases.weighted(settings, splits, keras_home)
    classifier, _, chosen = phases.built(settings, splits, weights, team, quiet)
    trained = transfer.trained_variables(classifier, chosen.mode, chosen.cut)
    return "\n".join(
        [model.summary(classifier, trained), *_told(settings, splits, classifier, chosen)]
    )


def _told(settings: Settings, splits: "Splits", classifier: Any, chosen: "Plan") -> list[str]:
    seconds = _seconds(settings, splits, classifier, chosen)
    boundary = {
        "none": "before the head",
        "part": chosen.cut and chosen.cut.name,
        "all": "none, everything is freed",
    }
    return [
        f"Images:    {len(splits.train)} train, {len(splits.val)} val, {len(splits.test)} test",
        f"Retrain:   {chosen.mode} of the backbone ({chosen.rule}). {chosen.reason}",
        f"Boundary:  {boundary[chosen.mode]}",
        f"Trainable: {chosen.trainable:,} of {chosen.total:,} parameters",
        f"Time here: about {seconds:,.0f} s of computing, at most",
    ]


def _seconds(settings: Settings, splits: "Splits", classifier: Any, chosen: "Plan") -> float:
    """One timed batch, times the passes: a step back costs about twice the step forward."""
    import tensorflow as tf

    images = tf.zeros((TIMED_BATCH, settings.image_size, settings.image_size, 3))
    infer = tf.function(lambda batch: classifier.model(batch, training=False))
    infer(images)
    began = time.monotonic()
    infer(images)
    forward = (time.monotonic() - began) / TIMED_BATCH
    once = len(splits.train) + 2 * len(splits.val) + len(splits.test)
    epochs = settings.training.epochs if chosen.mode != "none" else 0
    return forward * (once + epochs * (3 * len(splits.train) + len(splits.val)))

"""Before a GPU is spent: `graft check` tests what a run needs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from job import dataset, storage, telemetry
from job.catalogue import BACKBONES
from job.dataset import Dataset
from job.errors import DatasetError, JobError
from job.plurals import format_count
from job.settings import AUTO, Settings

# How many images `check` decodes, evenly spread over the data set.
SAMPLE = 32


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One thing that was tested: its name, what was found, and the error if it cannot work."""

    name: str
    text: str
    error: JobError | None = None


def check(settings: Settings, keras_home: Path) -> Iterator[CheckResult]:
    """Test each thing that a run needs. What fails does not hide the next one."""

    def describe_settings() -> str:
        backbone = f"{settings.backbone.name} at {settings.image_size} px"
        if settings.backbone.name == AUTO:
            backbone = f"one of {', '.join(settings.backbone.names)}"
        return f"{settings.name}: {backbone}, transfer {settings.transfer.mode}"

    def probe_output() -> str:
        registry = storage.connect(settings.output.uri).child(settings.name)
        registry.probe()
        return f"{registry.uri} can be listed and written, and refuses what it should"

    def join_devices() -> str:
        from job import workers

        return ", ".join(workers.join(settings.devices).devices)

    def locate_weights() -> str:
        from job import weights

        if settings.backbone.name == AUTO:
            located = weights.locate_candidates(settings.backbone, settings.cache.dir, keras_home)
        else:
            entry = BACKBONES[settings.backbone.name]
            found = weights.locate(settings.backbone, entry, settings.cache.dir, keras_home)
            located = {entry.name: found}
        lines = []
        for found in located.values():
            digest = f", sha256 {found.sha256[:16]}" if found.path else ""
            lines.append(f"{found.origin}{digest}")
        return ("\n" + " " * 20).join(lines)

    tests: dict[str, Callable[[], str]] = {
        "settings": describe_settings,
        "output": probe_output,
        "devices": join_devices,  # before TensorFlow has computed anything
        "dataset": lambda: _check_dataset(settings),
        "weights": locate_weights,
    }
    for name, test in tests.items():
        try:
            yield CheckResult(name, test())
        except JobError as error:
            yield CheckResult(name, str(error).replace("\n", "\n" + " " * 20), error)


def _check_dataset(settings: Settings) -> str:
    """What the listing says, and whether a sample of the images decodes."""
    listing = dataset.survey(settings.dataset)
    if listing.archive:
        size = sum(entry.size for entry in listing.entries)
        return f"{listing.uri}: archives of {size:,} bytes, opened in the run"

    # The sample keeps everything in the listing that is not an image, such as a manifest.
    keys = sorted(listing.places)
    sampled = set(keys[:: max(1, len(keys) // SAMPLE)])
    entries = []
    for entry in listing.entries:
        if entry.key in sampled or entry.key not in listing.places:
            entries.append(entry)
    places = {key: listing.places[key] for key in listing.places if key in sampled}
    sample = replace(listing, entries=tuple(entries), places=places)

    data = dataset.fetch(sample, settings.dataset, settings.cache, telemetry.silent())
    broken = _find_broken(data)
    if len(broken) > len(sample.places) * settings.dataset.broken_share:
        images = format_count(len(sample.places), "sampled image")
        raise DatasetError(
            f"{len(broken)} of {images} of {listing.uri} cannot be decoded.",
            "Repair or remove them, or correct GRAFT_DATASET_URI.",
            tuple(broken),
        )
    images = format_count(len(listing.places), "image")
    labels = {place.label for place in listing.places.values()}
    classes = format_count(len(labels), "class", "classes")
    decoded = f"{len(sample.places) - len(broken)} of {len(sample.places)} sampled could be decoded"
    return f"{images} in {classes}; {decoded}"


def _find_broken(data: Dataset) -> list[str]:
    """The names of the images that do not decode."""
    import tensorflow as tf

    from job import images

    broken = []
    for record in data.records:
        try:
            images.decode(tf.constant(record.path.read_bytes()))
        except tf.errors.InvalidArgumentError:
            broken.append(record.name)
    return broken

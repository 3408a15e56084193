"""Before a GPU is spent: `check` tests what a run needs, `plan` shows what it would do."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from job import dataset, identity, storage, telemetry
from job.catalogue import BACKBONES
from job.context import RunContext
from job.dataset import Dataset
from job.errors import DatasetError, JobError
from job.pipeline.inputs import RunInputs
from job.settings import AUTO, Settings
from job.workers import Stop

if TYPE_CHECKING:
    from job.measurement import Measurement
    from job.pipeline.outcome import Network
    from job.selection import BackboneChoice
    from job.transfer import Plan

# How many images `check` decodes, evenly spread over the data set.
SAMPLE = 32
# Characters of a bar that stands for a score of 1.
BAR = 30
# How many images `plan` times the network with.
TIMED_BATCH = 8


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


def plan(settings: Settings, keras_home: Path) -> str:
    """The layers with their shapes, what would be retrained and why, and how long it takes."""
    from job import model, transfer
    from job.pipeline import phases

    quiet = telemetry.silent()
    context = RunContext(telemetry=quiet, stop=Stop(), keras_home=keras_home)
    listing = dataset.survey(settings.dataset)
    data = dataset.fetch(listing, settings.dataset, settings.cache, quiet)
    workers = phases.join_devices(settings, context)
    _, splits = phases.audit_images(settings, data, quiet)
    run_id = identity.make_run_id(settings.shaping_values(), data.digest)
    inputs = RunInputs(settings=settings, data=data, run_id=run_id)
    training_context = phases.make_training_context(inputs, workers, context)
    choice = None
    if settings.backbone.name == AUTO:
        choice = phases.choose_backbone(settings, splits, keras_home, training_context)
        chosen = settings.backbone.resolve(choice.name)
        settings = settings.model_copy(update={"backbone": chosen})
    weights, splits = phases.locate_weights(settings, splits, keras_home)
    network = phases.build_classifier(settings, splits, weights, workers)
    measured = phases.measure_data(network, training_context)

    chosen_plan = network.plan
    mode, cut = (chosen_plan.mode, chosen_plan.cut) if chosen_plan else ("none", None)
    trained = transfer.select_variables(network.classifier, mode, cut)
    lines = [
        model.summarize(network.classifier, trained),
        f"Images:    {len(splits.train)} train, {len(splits.val)} val, {len(splits.test)} test",
    ]
    if choice:
        lines += _describe_backbones(choice)
    if measured:
        lines += _describe_measurement(measured.measurement)
    if chosen_plan:
        lines += _describe_plan(chosen_plan)
    elif measured:
        lines += _describe_race(settings, network, measured.measurement)
    seconds = _estimate_seconds(settings, network)
    lines.append(f"Time here: about {seconds:,.0f} s of computing, at most")
    return "\n".join(lines)


def _describe_plan(plan: "Plan") -> list[str]:
    boundary = {
        "none": "before the head",
        "part": plan.cut and plan.cut.name,
        "all": "none, everything is freed",
    }
    return [
        f"Retrain:   {plan.mode} of the backbone ({plan.rule}). {plan.reason}",
        f"Boundary:  {boundary[plan.mode]}",
        f"Trainable: {plan.trainable:,} of {plan.total:,} parameters",
    ]


def _describe_backbones(choice: "BackboneChoice") -> list[str]:
    """Each candidate with its score, and why one was chosen."""
    lines = [f"Backbone:  {choice.reason}"]
    for row in choice.rows:
        score = "not judged" if row.score is None else f"{row.score:.3f}"
        took = "" if row.milliseconds is None else f", {row.milliseconds:.1f} ms an image"
        size = f"{row.parameters / 1e6:.1f} million parameters{took}"
        lines.append(f"           {row.name:<20}{score:<12}{size}")
    return lines


def _describe_measurement(measurement: "Measurement") -> list[str]:
    """The profile of the stages and the learning curve."""
    kind = "like ImageNet" if measurement.kind == "like" else "unlike ImageNet"
    gain = measurement.earlier_stages_add
    lines = [
        f"Kind:      {kind}: all stages together score {gain:+.3f} against the last one",
    ]
    metric = measurement.metric.replace("_", " ")
    for row in measurement.profile:
        bar = "#" * round(BAR * row.score)
        lines.append(f"           {row.stage:<12}{row.score:.3f} {bar}")
    lines.append(
        f"Amount:    {measurement.amount}: twice the images would bring about "
        f"{measurement.doubling:+.3f} {metric}"
    )
    for point in measurement.curve:
        bar = "#" * round(BAR * point.score)
        lines.append(f"           {point.images:<12,}{point.score:.3f} {bar}")
    return lines


def _describe_race(settings: Settings, network: "Network", measurement: "Measurement") -> list[str]:
    """What mode `auto` would train, and what each candidate costs."""
    from job import selection

    boundaries = selection.choose_boundaries(measurement)
    splits, epochs = network.feed.splits, settings.training.epochs
    candidates = selection.list_candidates(network.classifier, boundaries, splits, epochs)
    budget = settings.transfer.budget
    lines = [f"Race:      the work is a multiple of one run of `all`, the budget is {budget:g}"]
    for candidate in candidates:
        work = f"work {candidate.work:.2f}"
        lines.append(f"           {candidate.name:<18}{work}")
    rungs: Sequence[selection.Rung] = ()
    reason = "like ImageNet, and too few validation images to show a gain"
    if selection.is_worth_a_race(measurement, splits):
        rungs = selection.plan_race(candidates, epochs, budget)
        reason = "the budget is too small"
    for rung in rungs:
        lines.append(f"           {rung.candidates} trained by steps up to epoch {rung.until}")
    if not rungs:
        lines.append(f"           none is trained by steps: {reason}")
    return lines


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
        raise DatasetError(
            f"{len(broken)} of {len(sample.places)} sampled images of {listing.uri} do not decode.",
            "Repair or remove them, or correct GRAFT_DATASET_URI.",
            tuple(broken),
        )
    images = len(listing.places)
    classes = len({place.label for place in listing.places.values()})
    decoded = f"{len(sample.places) - len(broken)} of {len(sample.places)} sampled decode"
    return f"{images:,} images in {classes} classes; {decoded}"


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


def _estimate_seconds(settings: Settings, network: "Network") -> float:
    """One timed batch, times the passes of the plan."""
    import tensorflow as tf

    images = tf.zeros((TIMED_BATCH, settings.image_size, settings.image_size, 3))
    infer = tf.function(lambda batch: network.classifier.model(batch, training=False))
    infer(images)  # traces the function
    began = time.monotonic()
    infer(images)
    forward = (time.monotonic() - began) / TIMED_BATCH

    splits = network.feed.splits
    once = len(splits.train) + 2 * len(splits.val) + len(splits.test)
    # A training step costs three forward passes: the way back takes about twice the way forward.
    steps = settings.training.epochs * (3 * len(splits.train) + len(splits.val))
    if network.plan is None:
        return forward * (once + settings.transfer.budget * steps)
    return forward * (once + (steps if network.plan.mode != "none" else 0))

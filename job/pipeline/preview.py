"""Before a GPU is spent: `graft plan` shows what a run would do, and about how long it takes."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from job import dataset, identity, telemetry
from job.context import RunContext
from job.dataset import Listing
from job.pipeline.inputs import RunInputs
from job.plurals import format_count
from job.settings import AUTO, Settings
from job.workers import Stop

if TYPE_CHECKING:
    from job.audit import Splits
    from job.measurement import Measurement
    from job.pipeline.outcome import Network
    from job.selection import BackboneChoice, Candidate, MeasuredData, Rung
    from job.training import TrainingContext
    from job.transfer import Plan
    from job.weights import Weights

# Characters of a bar that stands for a score of 1.
BAR = 30
# So many classes are listed with their images. Of more the smallest and the largest are named.
LISTED_CLASSES = 20
UNITS = ("bytes", "kB", "MB", "GB", "TB")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a run would begin with.

    Attributes:
        listing: the images before any is fetched.
        choice: how the backbone was chosen, if by measurement.
        training: what a training would work with.
        measured: None where the head cannot be solved.
        start_seconds: what passed until the network was built.
        import_seconds: those of them that TensorFlow took, which the export takes again.
    """

    settings: Settings
    listing: Listing
    network: "Network"
    choice: "BackboneChoice | None"
    training: "TrainingContext"
    measured: "MeasuredData | None"
    start_seconds: float
    import_seconds: float


@dataclass(frozen=True, slots=True)
class RacePreview:
    """What mode `auto` would do.

    Attributes:
        candidates: the ways to train.
        rungs: empty if none of them is trained by steps.
        reason: why there are no rungs, else empty.
    """

    candidates: "Sequence[Candidate]"
    rungs: "Sequence[Rung]"
    reason: str = ""


def plan(settings: Settings, keras_home: Path, *, layers: bool = False) -> str:
    """What would be retrained and why, and how long it takes. The most useful lines come first.

    Args:
        settings: of the run.
        keras_home: where Keras keeps its own weights files.
        layers: whether to end with every layer and its shapes.
    """
    preview = _begin_run(settings, keras_home)
    race = _preview_race(preview)
    lines = [*_describe_essentials(preview, race), "", *_describe_details(preview, race)]
    if layers:
        lines += ["", _list_layers(preview.network)]
    return "\n".join(lines)


def _begin_run(settings: Settings, keras_home: Path) -> Preview:
    """Do what a run does before it trains."""
    began = time.monotonic()
    from job.pipeline import phases

    import_seconds = time.monotonic() - began
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
    start_seconds = time.monotonic() - began
    features = phases.load_features(network, training_context)
    return Preview(
        settings=settings,
        listing=listing,
        network=network,
        choice=choice,
        training=training_context,
        measured=phases.measure_features(features, settings.gate.metric),
        start_seconds=start_seconds,
        import_seconds=import_seconds,
    )


def _preview_race(preview: Preview) -> RacePreview | None:
    """What mode `auto` would train. None if the plan is fixed, or nothing was measured."""
    if preview.network.plan or not preview.measured:
        return None
    from job import selection

    classifier, feed = preview.network.classifier, preview.network.feed
    splits, measurement = feed.splits, preview.measured.measurement
    epochs, budget = preview.settings.training.epochs, preview.settings.transfer.budget
    boundaries = selection.choose_boundaries(measurement)
    candidates = selection.list_candidates(classifier, boundaries, splits, epochs, feed.views)
    if not selection.is_worth_a_race(measurement.kind, len(splits.val)):
        return RacePreview(candidates, (), selection.NO_EVIDENCE)
    rungs = selection.plan_race(candidates, epochs, budget, len(splits.train))
    return RacePreview(candidates, rungs, "" if rungs else selection.NO_BUDGET)


def _describe_essentials(preview: Preview, race: RacePreview | None) -> list[str]:
    """The lines that most people want: five, then memory and perhaps cost."""
    from job.pipeline.forecast import forecast_time, read_history, time_stages

    network, settings = preview.network, preview.settings
    splits, chosen = network.feed.splits, network.plan
    if chosen:
        retrained = f"{chosen.mode} of the backbone ({chosen.rule}). {chosen.reason}"
    elif race and not race.rungs:
        retrained = f"none of the backbone: {race.reason}"
    else:
        retrained = (
            "decided by a race of several candidates, which may take "
            f"{settings.transfer.budget:g} times the work of retraining all"
        )
    races = not race or bool(race.rungs)
    steps = time_stages(network, preview.training, races=races)
    history = read_history(settings)
    forecast = forecast_time(settings, network, history, races=races, step_seconds=steps)
    # The export starts TensorFlow again.
    forecast = replace(
        forecast,
        start=preview.start_seconds,
        export=forecast.export + preview.import_seconds,
    )
    return [
        f"Images:    {len(splits.train)} train, {len(splits.val)} val, {len(splits.test)} test",
        f"Classes:   {_describe_classes(splits)}",
        f"Retrain:   {retrained}",
        f"Time here: {forecast.in_words}",
        f"To fetch:  {_describe_downloads(preview.listing, network.weights)}",
        f"Memory:    {_describe_memory()}",
        *_describe_cost(forecast.total, settings.plan.price_per_hour),
    ]


def _describe_memory() -> str:
    """What this process has taken by now, which has done a part of everything but the export."""
    from job.pipeline.forecast import read_peak_memory

    host, gpu = read_peak_memory()
    text = (
        f"about {_format_bytes(host)} at the peak here, the export in its own process not counted"
    )
    return f"{text}, and {_format_bytes(gpu)} of a GPU" if gpu else text


def _describe_cost(seconds: float, price_per_hour: float | None) -> list[str]:
    if price_per_hour is None:
        return []
    cost = price_per_hour * seconds / 3600
    return [f"Cost:      about {cost:,.2f} at most, at {price_per_hour:g} an hour"]


def _describe_classes(splits: "Splits") -> str:
    """The classes with the number of their images, those of all parts together."""
    parts = (splits.train, splits.val, splits.test)
    counts = Counter(example.label for part in parts for example in part)
    named = [(splits.classes[label], count) for label, count in counts.items()]
    named.sort()
    if len(named) <= LISTED_CLASSES:
        return ", ".join(f"{name} {count:,}" for name, count in named)
    least = min(named, key=lambda each: each[1])
    most = max(named, key=lambda each: each[1])
    ends = f"from {format_count(least[1], 'image')} ({least[0]}) to {most[1]:,} ({most[0]})"
    return f"{len(named):,}, {ends}"


def _describe_downloads(listing: Listing, weights: "Weights") -> str:
    """What a run fetches on a machine that has nothing yet."""
    images = _format_bytes(sum(entry.size for entry in listing.entries))
    what = "one archive" if listing.archive else format_count(len(listing.entries), "file")
    parts = [f"{what} of the data set ({images})"]
    if weights.path:
        parts.append(f"the weights {weights.origin} ({_format_bytes(weights.path.stat().st_size)})")
    return f"{' and '.join(parts)}, which this machine has now"


def _format_bytes(size: float) -> str:
    for unit in UNITS:
        if size < 1000 or unit == UNITS[-1]:
            break
        size /= 1000
    return f"{size:,.0f} {unit}" if unit == UNITS[0] else f"{size:,.1f} {unit}"


def _describe_details(preview: Preview, race: RacePreview | None) -> list[str]:
    """What was measured, and what follows from it."""
    lines: list[str] = []
    network, measured = preview.network, preview.measured
    if preview.choice:
        lines += _describe_backbones(preview.choice)
    if measured:
        lines += _describe_measurement(measured.measurement)
    if network.plan:
        lines += _describe_plan(network.plan)
    elif race:
        lines += _describe_race(race, preview.settings.transfer.budget)
    return lines


def _list_layers(network: "Network") -> str:
    """Every layer, with its shape, its parameters and whether it is trained."""
    from job import model, transfer

    chosen = network.plan
    mode, cut = (chosen.mode, chosen.cut) if chosen else ("none", None)
    return model.summarize(
        network.classifier, transfer.select_variables(network.classifier, mode, cut)
    )


def _describe_plan(plan: "Plan") -> list[str]:
    boundary = {
        "none": "before the head",
        "part": plan.cut and plan.cut.name,
        "all": "none, everything is freed",
    }
    return [
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


def _describe_race(race: RacePreview, budget: float) -> list[str]:
    """What mode `auto` would train, and what each candidate costs."""
    lines = [f"Race:      the work is a multiple of one run of `all`, the budget is {budget:g}"]
    for candidate in race.candidates:
        work = f"work {candidate.work:.2f}"
        lines.append(f"           {candidate.name:<18}{work}")
    for rung in race.rungs:
        lines.append(f"           {rung.candidates} trained by steps up to epoch {rung.until}")
    if race.rungs:
        lines.append("           it ends early where a solved head stays far ahead")
    if not race.rungs:
        lines.append(f"           none is trained by steps: {race.reason}")
    return lines

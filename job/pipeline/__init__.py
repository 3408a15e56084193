"""The flow of a run: each phase returns a frozen value that the next one takes.

`run` finds out whether there is anything to do, and `learn` does it: train, evaluate, export,
publish. TensorFlow is imported between the two, so that a night without new data costs seconds. Of
several workers all of them train, and the first one does the rest alone.
"""

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from job import dataset, distributed, files, identity, publish, storage, supervision
from job.context import RunContext
from job.dataset import Listing
from job.distributed import WorkerJob
from job.errors import JobError, SettingsError, WorkerLost
from job.export import Exporter
from job.pipeline import released, trigger
from job.pipeline.inputs import RunInputs
from job.plurals import format_count
from job.publish import History
from job.release import Manifest
from job.result import Result
from job.settings import Settings
from job.storage import Store
from job.telemetry import FactsFound, name_run, record_log
from job.workers import Terminated

if TYPE_CHECKING:
    from job.pipeline.outcome import TrainedClassifier

__all__ = ["PHASES", "RunContext", "RunInputs", "learn", "run", "train"]
logger = logging.getLogger(__name__)

PHASES = (
    "survey",
    "dataset",
    "devices",
    "audit",
    "backbone",
    "weights",
    "model",
    "measurement",
    "training",
    "evaluation",
    "export",
    "release",
)
# How long a worker waits for the chief's release: longer than any evaluation and export, with the
# chief's restarts.
RELEASE_WAIT_SECONDS = 6 * 3600
# The folders of the cache that are swept. The folder around them may be one that other programs
# share, such as ~/.cache. In `objects` and `index` nothing partial is written.
SWEPT = ("audit", "checkpoints", "features", "incoming", "predictions", "releases", "weights")
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 10.0


def run(settings: Settings, context: RunContext) -> Result:
    """From settings to a release, or to the finding that there is one already.

    Raises:
        JobError: with the exit code that says whose fault it was.
    """
    name_run(model=settings.name)
    trigger.require_one_worker(settings.trigger, context.worker_group.size)
    with context.phase("survey"):
        registry = storage.connect(settings.output.uri).child(settings.name)
        registry.probe()
        _sweep_leftovers(settings, registry)
        listing = dataset.survey(settings.dataset)
        context.telemetry.emit(FactsFound(_describe_listing(listing)))
        history = publish.read_history(registry)
        seen = history.find_same(listing.digest, settings.recorded_values(), identity.digest_code())
        if seen:
            return released.leave_unchanged(settings, registry, seen)
        baseline = trigger.find_baseline(settings, history)
        if baseline:
            rule, telemetry = settings.trigger, context.telemetry
            waiting = trigger.decide_by_listing(rule, registry, baseline, listing, telemetry)
            if waiting:
                return released.leave_unchanged(settings, registry, baseline.manifest, waiting)

    with context.phase("dataset"):
        data = dataset.fetch(listing, settings.dataset, settings.cache, context.telemetry)

    run_id = identity.make_run_id(settings.shaping_values(), data.digest)
    name_run(model=settings.name, run_id=run_id)
    if found := publish.complete(registry, run_id):
        return released.leave_unchanged(settings, registry, found)
    inputs = RunInputs(settings=settings, data=data, run_id=run_id)
    try:
        if baseline and (waiting := trigger.decide_by_images(inputs, baseline, context)):
            return released.leave_unchanged(settings, registry, baseline.manifest, waiting)
        with files.open_scratch() as scratch, record_log(scratch / "logs" / "log.jsonl"):
            if context.worker_group.size > 1:
                _train_with_other_workers(inputs, context)
                if not context.worker_group.chief:
                    return _wait_for_release(inputs, context)
            return learn(inputs, context, history, scratch)
    except files.NoScratch as error:
        raise SettingsError(
            f"No folder for temporary files can be written: {error.strerror}.",
            "Mount a writable /tmp, or set TMPDIR to a folder that the job may write to.",
        ) from error
    except (JobError, Terminated) as error:
        error.run_id = run_id
        raise


def _describe_listing(listing: Listing) -> dict[str, object]:
    """What is known of the data before it is fetched. An archive is not open by then."""
    if not listing.places:
        return {"archives": len(listing.entries)}
    classes = {place.label for place in listing.places.values()}
    return {"images": format_count(len(listing.places), "file"), "classes": len(classes)}


def _sweep_leftovers(settings: Settings, registry: Store) -> None:
    """Remove what killed runs have left and no living process uses."""
    files.sweep_scratch()
    for name in SWEPT:
        files.sweep_partials(settings.cache.dir / name)
    registry.sweep()


def learn(inputs: RunInputs, context: RunContext, history: History, scratch: Path) -> Result:
    """From images on this disk to a release. `scratch` receives the files of the release."""
    settings = inputs.settings
    with Exporter(scratch) as exporter:
        trained = train(inputs, context, history, exporter)

        from job.pipeline import exporting, judging, phases
        from job.pipeline.outcome import RunOutcome

        with context.phase("evaluation"):
            exporter.prepare()  # it imports while the images are judged
            report, challenger = judging.evaluate(
                inputs, trained, lambda: exporting.send_classifier(exporter, settings, trained)
            )
        with context.phase("export"):
            trained = phases.complete_measurement(trained)  # the other process is at work
            bundle = exporting.finish_export(exporter, settings, context.telemetry)
    with context.phase("release"):
        outcome = RunOutcome(
            inputs=inputs,
            trained=trained,
            report=report,
            bundle=bundle,
            history=history,
            seconds=context.telemetry.seconds,
            worker_count=context.worker_group.size,
        )
        release, decision = phases.publish_release(outcome, challenger)
        inputs.checkpoints.clear()
        released.serve_champion(settings, inputs.registry)
        released.prune_releases(settings, inputs.registry)
        ending = "promoted" if decision.promote else "not promoted"
        logger.info("%s: %s", ending, decision.reason)
        facts = {"promotion": f"{ending}: {decision.reason}"}
        context.telemetry.emit(FactsFound(facts))

    missed = publish.explain_missed_gate(settings.gate, report.scores[settings.gate.metric])
    return Result(
        status="below_gate" if missed else "released",
        run_id=inputs.run_id,
        release=release.uri,
        promoted=decision.promote,
        scores=report.scores,
        plan=trained.plan.mode,
        reason=decision.reason,
        classes=len(trained.splits.classes),
    )


def train(
    inputs: RunInputs, context: RunContext, history: History, exporter: Exporter | None = None
) -> "TrainedClassifier":
    """From images on this disk to a trained classifier.

    Args:
        inputs: of the run.
        context: of the run.
        history: earlier releases.
        exporter: of the worker that exports. It may start before the classifier is trained.
    """
    settings, telemetry = inputs.settings, context.telemetry
    with context.phase("devices"):
        if exporter and settings.transfer.mode == "none":
            exporter.prepare()  # both import at the same time
        # TensorFlow from here on
        with supervision.import_large_packages():
            from job.pipeline import exporting, phases
            from job.pipeline.forecast import forecast_race, forecast_time
            from job.pipeline.outcome import TrainedClassifier

        workers = phases.join_devices(settings, context)
    with context.phase("audit"):
        census, splits = phases.audit_images(settings, inputs.data, telemetry)
    with context.phase("backbone"):
        training = phases.make_training_context(inputs, workers, context)
        settings, backbones = phases.resolve_backbone(inputs, splits, context.keras_home, training)
    with context.phase("weights"):
        weights, splits = phases.locate_weights(settings, splits, context.keras_home, history)
    with context.phase("model"):
        network = phases.build_classifier(settings, splits, weights, workers)
        telemetry.emit(phases.describe_plan(network, backbones, workers))
        if exporter:
            exporting.start_early(exporter, settings, network, training)
        if workers.count == 1:  # of several each has a part of the work
            telemetry.emit(forecast_time(settings, network, history).event)
    with context.phase("measurement"):
        features = phases.load_features(network, training)
        later = network.is_only_solved
        measured = None if later else phases.measure_features(features, training.gate.metric)
        if measured and network.plan is None:
            telemetry.emit(forecast_race(network, measured))
    with context.phase("training"):
        fitted = phases.train_classifier(settings.transfer, network, measured, training)
        telemetry.emit(phases.describe_choice(fitted))
    return TrainedClassifier(
        training=training,
        census=census,
        backbones=backbones,
        network=network,
        features=features,
        measured=measured,
        fitted=fitted,
    )


def _train_with_other_workers(inputs: RunInputs, context: RunContext) -> None:
    """Train together with the other workers until the bucket says that training is over."""
    job = WorkerJob(
        function=_train_as_worker,
        inputs=inputs,
        worker_group=context.worker_group,
        keras_home=context.keras_home,
    )

    def is_done() -> bool:
        # In this order: the chief publishes the release before it removes the checkpoints.
        if inputs.checkpoints.is_training_over():
            return True
        return publish.find(inputs.registry, inputs.run_id) is not None

    distributed.run_with_other_workers(
        job,
        context,
        is_done=is_done,
        join_seconds=inputs.settings.devices.join_seconds,
    )


def _train_as_worker(inputs: RunInputs, context: RunContext) -> None:
    """What the process that joins the others runs. What it has learnt is in the checkpoint."""
    train(inputs, context, publish.read_history(inputs.registry))


def _wait_for_release(inputs: RunInputs, context: RunContext) -> Result:
    """The result of a worker that is not the chief: the release that the chief publishes.

    Raises:
        WorkerLost: there is none after many hours.
    """
    registry = inputs.registry
    with context.phase("release"):
        try:
            manifest = _poll_for_release(inputs)
        except Terminated:
            # A Job with a success policy ends the other workers once the chief has ended well.
            found = publish.find(registry, inputs.run_id)
            if found is None:
                raise
            manifest = found
    # The chief writes the manifest first, and may not have promoted the release yet. Whichever
    # worker does it first does it for all.
    standing = publish.finish_promotion(registry, manifest)
    result = released.describe_release(
        inputs.settings, registry, manifest, "released", standing.promoted
    )
    return replace(result, reason=manifest.fields["promotion"].get("reason", ""))


def _poll_for_release(inputs: RunInputs) -> Manifest:
    logger.info("training is over: waiting for the chief's release")
    deadline, pause = time.monotonic() + RELEASE_WAIT_SECONDS, FIRST_PAUSE_SECONDS
    while not (manifest := publish.find(inputs.registry, inputs.run_id)):
        if time.monotonic() > deadline:
            raise WorkerLost(
                f"The chief released nothing in {RELEASE_WAIT_SECONDS // 3600} hours.",
                "See how worker 0 ended.",
            )
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    return manifest

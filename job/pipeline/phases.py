"""What each phase of `learn` takes from the settings and hands to its room.

Imported late: TensorFlow comes with it.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from job import audit, batches, evaluation, model, publish, selection, training, transfer
from job import weights as pretrained
from job import workers as devices
from job.audit import Census, Splits
from job.catalogue import BACKBONES
from job.context import RunContext
from job.dataset import Dataset
from job.features import open_feature_cache
from job.model import ClassifierSpec
from job.pipeline import records
from job.pipeline.inputs import RunInputs
from job.pipeline.outcome import Network, RunOutcome, TrainedClassifier
from job.plurals import format_count
from job.publish import Challenger, Comparison, Decision, Release
from job.release import Manifest
from job.selection import BackboneChoice, MeasuredData
from job.settings import AUTO, Settings, TransferSettings
from job.storage import Store
from job.telemetry import FactsFound, Telemetry
from job.training import Fitted, StageFeatures, TrainingContext
from job.weights import Weights
from job.workers import Workers

logger = logging.getLogger(__name__)

# Beside the checkpoints of a run: which backbone was chosen, and what was measured.
CHOICE = "backbone.json"


def join_devices(settings: Settings, context: RunContext) -> Workers:
    """The devices, before TensorFlow has computed anything on them."""
    group, together = context.worker_group, context.joins_workers
    workers = devices.join(settings.devices, group, together=together)
    context.stop.install()  # again: TensorFlow may have taken SIGTERM for itself
    return workers


def audit_images(settings: Settings, data: Dataset, telemetry: Telemetry) -> tuple[Census, Splits]:
    """What is wrong with the images, and the split of those that are right."""
    cache = settings.cache.dir / "audit"
    census = audit.inspect(data, settings.dataset.broken_share, cache, telemetry)
    logger.info("%s", census.summary)
    return census, audit.split(census)


def choose_backbone(
    settings: Settings, splits: Splits, keras_home: Path, context: TrainingContext
) -> BackboneChoice:
    """Measure which of the candidates is best."""
    weights = pretrained.locate_candidates(settings.backbone, settings.cache.dir, keras_home)
    return selection.choose_backbone(settings, weights, splits, context)


def resolve_backbone(
    inputs: RunInputs, splits: Splits, keras_home: Path, context: TrainingContext
) -> tuple[Settings, BackboneChoice | None]:
    """The settings with the one backbone of the run, and how it was chosen if by measurement.

    The choice is kept with the checkpoints, because a resumed run could measure other milliseconds.
    The chief chooses for all workers.
    """
    settings = inputs.settings
    backbone = settings.backbone
    if backbone.name != AUTO:
        return settings, None
    workers, store = context.workers, inputs.checkpoints.store
    choice, place = None, 0
    if workers.chief:
        if store.head(CHOICE):
            choice = BackboneChoice.from_facts(json.loads(store.read(CHOICE)))
            logger.info("backbone %s was chosen before: %s", choice.name, choice.reason)
        else:
            choice = choose_backbone(settings, splits, keras_home, context)
            store.write(CHOICE, json.dumps(asdict(choice)).encode())
        place = backbone.names.index(choice.name)
    # The others have nothing to add: the sum is what the chief has.
    (agreed,) = workers.sum(np.array([place], np.float32))
    chosen = backbone.resolve(backbone.names[int(agreed)])
    return settings.model_copy(update={"backbone": chosen}), choice


def locate_weights(
    settings: Settings, splits: Splits, keras_home: Path, history: Iterable[Manifest] = ()
) -> tuple[Weights, Splits]:
    """The pre-trained weights, and the classes in the order that an earlier release asks for.

    Args:
        history: earlier releases. A file without a published hash must be the one that the last
            release of it has noted.
    """
    entry = BACKBONES[settings.backbone.name]
    weights = pretrained.locate(settings.backbone, entry, settings.cache.dir, keras_home)
    if not weights.published:
        for manifest in history:
            noted = manifest.fields.get("weights", {})
            if noted.get("origin") == weights.origin:
                pretrained.require_same(weights, str(noted.get("sha256")))
                break
    return weights, splits.reorder_classes(pretrained.order_classes(splits.classes, weights))


def build_classifier(
    settings: Settings, splits: Splits, weights: Weights, workers: Workers
) -> Network:
    """The classifier with its weights, its batches, and the plan of what is retrained."""
    spec = ClassifierSpec(
        backbone=settings.backbone,
        head=settings.head,
        classes=splits.classes,
        seed=settings.seed,
        precision=workers.dtype_policy(settings.training.precision),
    )
    with workers.strategy.scope():
        classifier = model.build(spec, weights)
    size, fit = settings.image_size, settings.backbone.image_fit
    feed = batches.build_feed(splits, size, fit, settings.training, settings.seed)
    plan = transfer.choose_plan(settings.transfer, classifier, splits, weights.kind != "none")
    return Network(classifier, weights, feed, plan)


def describe_plan(
    network: Network, backbones: BackboneChoice | None, workers: Workers
) -> FactsFound:
    """What people who watch the run see of the plan."""
    return FactsFound(records.live_facts(network, backbones, workers))


def make_training_context(
    inputs: RunInputs, workers: Workers, context: RunContext
) -> TrainingContext:
    """What every stage of the training works with."""
    settings = inputs.settings
    settings.cache.dir.mkdir(parents=True, exist_ok=True)
    return TrainingContext(
        settings=settings.training,
        gate=settings.gate,
        workers=workers,
        precision=workers.dtype_policy(settings.training.precision),
        checkpoints=inputs.checkpoints,
        cache=open_feature_cache(settings.cache),
        telemetry=context.telemetry,
        stop=context.stop,
    )


def load_features(network: Network, context: TrainingContext) -> StageFeatures | None:
    """The features of all images on the pre-trained backbone.

    None where the head cannot be solved or is not asked for, and for workers that are not the
    chief.
    """
    plan = network.plan
    is_solved = network.classifier.solvable if plan is None else plan.stages[0].solved
    if not is_solved or not context.workers.chief:
        return None
    return training.load_stage_features(network.classifier, network.feed, context)


def measure_features(features: StageFeatures | None, metric: str) -> MeasuredData | None:
    """What solved heads tell of the data. None without features."""
    if features is None:
        return None
    measured = selection.measure_features(features, metric)
    suspects = measured.suspects
    if suspects.rows:
        logger.warning(
            "may be wrong: %d of %s (suspects.csv of the release lists them)",
            len(suspects.rows),
            format_count(suspects.images, "label"),
        )
    return measured


def complete_measurement(trained: TrainedClassifier) -> TrainedClassifier:
    """The same with what its features tell, if it was not measured yet."""
    if trained.measured:
        return trained
    measured = measure_features(trained.features, trained.training.gate.metric)
    return replace(trained, measured=measured)


def train_classifier(
    settings: TransferSettings,
    network: Network,
    measured: MeasuredData | None,
    context: TrainingContext,
) -> Fitted:
    """Run the stages of the plan, or a race where there is none, from the latest checkpoint on."""
    classifier, feed = network.classifier, network.feed
    if network.plan is None:
        return selection.race_candidates(classifier, feed, settings, measured, context)
    return training.fit(classifier, network.plan, feed, context)


def describe_choice(fitted: Fitted) -> FactsFound:
    """What people who watch the run see of the plan that the training ended with."""
    return FactsFound({"plan": fitted.plan.mode, "reason": fitted.plan.reason})


def publish_release(outcome: RunOutcome, challenger: Challenger) -> tuple[Release, Decision]:
    """Decide, write the report, publish the release and, if it wins, promote it.

    Report and manifest record the decision that was made before they were written. The one that is
    returned is the last one: it is made again if another champion came in between.
    """
    inputs, report, folder = outcome.inputs, outcome.report, outcome.bundle.folder
    settings, gate = inputs.settings, inputs.settings.gate
    registry, score = inputs.registry, report.scores[gate.metric]

    def compare(store: Store, manifest: Manifest) -> Comparison:
        return publish.compare(store, manifest, challenger, gate.metric, settings.cache.dir)

    def decide_again(champion: publish.Champion | None) -> Decision:
        return publish.decide(gate, score, champion, compare)

    champion = publish.read_champion(registry)
    decision = publish.decide(gate, score, champion, compare)
    answers = challenger.probabilities.argmax(axis=1)
    training.write_history(outcome.trained.fitted.history, folder)
    evaluation.write(report, records.report_context(outcome, decision, answers), folder)
    inventory = publish.compose_inventory(outcome.trained.splits, inputs.data.records)
    (folder / publish.INVENTORY).write_bytes(inventory)
    if inputs.data.objects:  # none of an archive
        seen_objects = folder / publish.SEEN_OBJECTS
        seen_objects.parent.mkdir(exist_ok=True)
        seen_objects.write_bytes(inputs.data.objects)

    release = publish.release(folder, records.manifest_fields(outcome, decision), registry)
    if not release.ours:  # another run of the same id came first: its scores decide
        standing = publish.finish_promotion(registry, release.manifest)
        reason = release.manifest.fields["promotion"].get("reason", "")
        if standing.promoted != release.manifest.won:
            reason = standing.reason or "it was chosen by hand"
        return release, replace(decision, promote=standing.promoted, reason=reason)
    decision = publish.promote(registry, release.manifest, decision, decide_again)
    return release, decision

"""What each phase of `learn` takes from the settings and hands to its room. Imported late: TensorFlow comes with it."""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from job import audit, batches, evaluation, export, model, publish, training, transfer, workers
from job import weights as pretrained
from job.audit import Census, Example, Splits
from job.batches import Feed
from job.catalogue import BACKBONES
from job.checkpoint import CheckpointStore
from job.dataset import Dataset
from job.evaluation import Report
from job.export import Bundle, ExportRequest
from job.export.reference import compute_probabilities
from job.pipeline import records
from job.pipeline.context import RunContext
from job.publish import Challenger, Comparison, Decision, History, Manifest, Release
from job.publish.inventory import NAME as INVENTORY
from job.settings import Settings
from job.storage import Store
from job.telemetry import Telemetry
from job.training import FeatureCache, Fitted, TrainingContext
from job.transfer import Plan
from job.weights import Weights
from job.workers import Workers

# Exports are compared in float32 on the CPU: exactly where training computed so too, else within
# its rounding.
REDUCED_PRECISION_TOLERANCE = 0.02
COMPARED_IMAGES = 32


def joined(settings: Settings, context: RunContext) -> Workers:
    """The devices, before TensorFlow has computed anything on them; for a member, those of the other workers too."""
    team = workers.join(settings.devices, context.worker_group, together=context.member)
    context.stop.install()
    return team


def audited(settings: Settings, data: Dataset, telemetry: Telemetry) -> tuple[Census, Splits]:
    """Every image looked at, and the split."""
    census = audit.inspect(
        data, settings.dataset.broken_share, settings.cache.dir / "audit", telemetry
    )
    return census, audit.split(census)


def weighted(
    settings: Settings, splits: Splits, keras_home: Path, history: Iterable[Manifest] = ()
) -> tuple[Weights, Splits]:
    """The pre-trained weights, and the classes in the order that an earlier release of them asks for.

    `history` holds a file without a published hash to what the last release noted of it.
    """
    entry = BACKBONES[settings.backbone.name]
    weights = pretrained.locate(settings.backbone, entry, settings.cache.dir, keras_home)
    noted = (
        manifest.fields.get("weights", {}) for manifest in (() if weights.published else history)
    )
    earlier = next((earlier for earlier in noted if earlier.get("origin") == weights.origin), None)
    if earlier:
        pretrained.require_same(weights, earlier["sha256"])
    return weights, splits.ordered(pretrained.order(splits.classes, weights))


def built(
    settings: Settings, splits: Splits, weights: Weights, team: Workers, telemetry: Telemetry
) -> tuple[Any, Feed, Plan]:
    """The classifier, its batches, and the plan of what is retrained."""
    precision = team.dtype_policy(settings.training.precision)
    with team.strategy.scope():
        classifier = model.build(
            settings.backbone, settings.head, splits.classes, weights, settings.seed, precision
        )
    feed = batches.feed(
        splits, settings.image_size, settings.backbone.image_fit, settings.training, settings.seed
    )
    plan = transfer.choose(settings.transfer, classifier, splits, weights.kind != "none")
    telemetry.facts(**records.live(settings, splits, plan, team))
    return classifier, feed, plan


def fitted(
    settings: Settings,
    classifier: Any,
    plan: Plan,
    feed: Feed,
    team: Workers,
    weights: Weights,
    checkpoints: CheckpointStore,
    context: RunContext,
) -> Fitted:
    """The stages of the plan, from the newest checkpoint on."""
    precision = team.dtype_policy(settings.training.precision)
    training_context = TrainingContext(
        settings.training,
        settings.gate,
        team,
        precision,
        checkpoints,
        context.telemetry,
        context.stop,
    )
    key = f"{settings.backbone.name} {weights.sha256 or settings.seed}"
    cache = FeatureCache(settings.cache.dir / "features", key, _room(settings))
    return training.fit(classifier, plan, feed, training_context, cache)


def _room(settings: Settings) -> int:
    """Bytes that activations may take: half of what is left, so that the images keep theirs."""
    free = shutil.disk_usage(settings.cache.dir).free
    return min(free, settings.cache.limit or free) // 2


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained classifier, and what it was trained on, from and by."""

    team: Workers
    census: Census
    weights: Weights
    classifier: Any
    feed: Feed
    plan: Plan
    fitted: Fitted

    @property
    def splits(self) -> Splits:
        return self.feed.splits


def judged(trained: Trained) -> tuple[Report, Challenger]:
    """The scores, with the temperature folded into the classifier, and what it says about the test images."""
    classifier, feed, splits = trained.classifier, trained.feed, trained.splits
    logits_val, logits_test = (
        training.predict(classifier, feed, part) for part in (splits.val, splits.test)
    )
    report = evaluation.judge(logits_test, logits_val, splits)
    model.fold_temperature(classifier, report.temperature)
    calibrated = softmax(logits_test / report.temperature, axis=1).astype(np.float32)
    return report, Challenger(splits.classes, splits.test, calibrated)


def exported(settings: Settings, trained: Trained, folder: Path) -> Bundle:
    """Every format, proved against the classifier on real images."""
    classifier, splits, team = trained.classifier, trained.splits, trained.team
    exact = (
        team.dtype_policy(settings.training.precision) == "float32" and "GPU" not in team.devices[0]
    )
    request = ExportRequest(
        backbone=settings.backbone,
        head=settings.head,
        classes=splits.classes,
        formats=settings.export.formats,
        seed=settings.seed,
        threads=settings.devices.threads,
        images=tuple(example.path for example in _spread(splits.test)),
        batch_size=COMPARED_IMAGES,
        tolerance=0.0 if exact else REDUCED_PRECISION_TOLERANCE,
    )
    variables = [variable.numpy() for variable in classifier.model.variables]
    expected = compute_probabilities(
        classifier.model,
        request.images,
        settings.image_size,
        settings.backbone.image_fit,
        COMPARED_IMAGES,
    )
    return export.pack(request, variables, expected, folder)


def _spread(examples: Sequence[Example]) -> Sequence[Example]:
    """A few images of all classes: they are sorted by class."""
    return examples[:: max(1, len(examples) // COMPARED_IMAGES)][:COMPARED_IMAGES]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Everything that is known about a run before it is released."""

    settings: Settings
    run_id: str
    data: Dataset
    trained: Trained
    report: Report
    bundle: Bundle
    history: History


def released(facts: RunFacts, registry: Store, challenger: Challenger) -> tuple[Release, Decision]:
    """The report, the release and, if it wins, the promotion."""
    settings, folder = facts.settings, facts.bundle.folder
    gate, score = settings.gate, facts.report.scores[settings.gate.metric]

    def compare(store: Store, manifest: Manifest) -> Comparison:
        return publish.compare(store, manifest, challenger, gate.metric, settings.cache.dir)

    training.record(facts.trained.fitted.history, folder)
    evaluation.write(facts.report, records.context(facts), folder)
    (folder / INVENTORY).write_bytes(publish.inventory(facts.trained.splits))
    against = publish.champion(registry)
    decision = publish.decide(gate, score, against, compare)
    release = publish.release(folder, records.manifest(facts, decision), registry)
    if not release.ours:  # Another run of the same id came first: its scores decide.
        return release, replace(
            decision, promote=publish.finish_promotion(registry, release.manifest).promoted
        )
    again = lambda newcomer: publish.decide(gate, score, newcomer, compare)  # noqa: E731
    return release, publish.promote(registry, release.manifest, decision, again)

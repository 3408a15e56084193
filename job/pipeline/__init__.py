"""The flow and nothing else: each phase returns a frozen value that the next one takes.

`run` finds out whether there is anything to do, and `learn` does it: `train`, judge, export,
release. TensorFlow is imported between the two, so that a night without new data costs seconds. Of
several workers, all `train` together.
"""

import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from job import dataset, identity, publish, storage
from job.checkpoint import CheckpointStore
from job.dataset import Dataset
from job.errors import JobError
from job.pipeline import together
from job.pipeline.context import RunContext
from job.publish import History
from job.release import Manifest, folder_of
from job.result import Result, Status
from job.settings import Settings
from job.storage import Store
from job.telemetry import recorded
from job.workers import Terminated

if TYPE_CHECKING:
    from job.pipeline.phases import Trained

__all__ = ["PHASES", "RunContext", "checkpoints", "learn", "run", "train"]
logger = logging.getLogger(__name__)

PHASES = (
    "survey",
    "dataset",
    "devices",
    "audit",
    "weights",
    "model",
    "training",
    "evaluation",
    "export",
    "release",
)


def run(settings: Settings, context: RunContext) -> Result:
    """From settings to a release, or to the finding that there is one already.

    Raises:
        JobError: with the exit code that says whose fault it was.
    """
    with context.phase("survey"):
        registry = storage.connect(settings.output.uri).child(settings.name)
        registry.probe()
        listing = dataset.survey(settings.dataset)
        history = publish.read_history(registry)
        if seen := history.find_same(
            listing.digest, settings.recorded_values(), identity.digest_code()
        ):
            return _unchanged(settings, registry, seen)
    with context.phase("dataset"):
        data = dataset.fetch(listing, settings.dataset, settings.cache, context.telemetry)
    run_id = identity.make_run_id(settings.shaping_values(), data.digest)
    if found := publish.find(registry, run_id):
        return _unchanged(settings, registry, found)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="graft-") as scratch,
            recorded(Path(scratch) / "logs" / "log.jsonl"),
        ):
            if context.worker_group.size > 1:
                together.train(
                    settings, context, data, run_id, checkpoints(settings, registry, run_id)
                )
                if not context.worker_group.chief:
                    release = together.awaited(registry, run_id, context)
                    return _told(settings, registry, release, "released", release.won)
            return learn(settings, context, data, registry, history, run_id, Path(scratch))
    except (JobError, Terminated) as error:
        error.run_id = run_id
        raise


def learn(
    settings: Settings,
    context: RunContext,
    data: Dataset,
    registry: Store,
    history: History,
    run_id: str,
    scratch: Path,
) -> Result:
    """From images on this disk to a release."""
    kept = checkpoints(settings, registry, run_id)
    trained = train(settings, context, data, history, kept)

    from job.pipeline import phases

    with context.phase("evaluation"):
        report, challenger = phases.judged(trained)
    with context.phase("export"):
        bundle = phases.exported(settings, trained, scratch)
    with context.phase("release"):
        facts = phases.RunFacts(settings, run_id, data, trained, report, bundle, history)
        release, decision = phases.released(facts, registry, challenger)
        kept.clear()
    passed = report.scores[settings.gate.metric] >= settings.gate.min_score
    return Result(
        "released" if passed else "below_gate",
        run_id,
        release.uri,
        decision.promote,
        report.scores,
        trained.plan.mode,
    )


def train(
    settings: Settings, context: RunContext, data: Dataset, history: History, kept: CheckpointStore
) -> "Trained":
    """From images on this disk to a trained classifier."""
    with context.phase("devices"):
        from job.pipeline import phases  # TensorFlow from here on

        team = phases.joined(settings, context)
    with context.phase("audit"):
        census, splits = phases.audited(settings, data, context.telemetry)
    with context.phase("weights"):
        weights, splits = phases.weighted(settings, splits, context.keras_home, history)
    with context.phase("model"):
        classifier, feed, plan = phases.built(settings, splits, weights, team, context.telemetry)
    with context.phase("training"):
        fitted = phases.fitted(settings, classifier, plan, feed, team, weights, kept, context)
    return phases.Trained(team, census, weights, classifier, feed, plan, fitted)


def checkpoints(settings: Settings, registry: Store, run_id: str) -> CheckpointStore:
    """Where the state of a run is kept while it works."""
    folder = settings.cache.dir / "checkpoints" / run_id
    return CheckpointStore(
        folder, registry.child(f"runs/{run_id}/checkpoints"), settings.checkpoint.interval_seconds
    )


def _unchanged(settings: Settings, registry: Store, manifest: Manifest) -> Result:
    """There is a release of just this; what an earlier run left undone is finished."""
    registry.delete(f"runs/{manifest.run_id}")
    standing = publish.finish_promotion(registry, manifest)
    found = _told(settings, registry, manifest, "unchanged", standing.promoted)
    if found.status != "unchanged" or standing.promoted:
        return found
    logger.info(
        "%s; `graft promote %s` makes this release the champion", standing.reason, found.release
    )
    return replace(
        found, reason=f"{standing.reason}; `graft promote` makes this release the champion"
    )


def _told(
    settings: Settings, registry: Store, manifest: Manifest, status: Status, promoted: bool
) -> Result:
    """What a release that exists already says of its run."""
    scores = manifest.fields["scores"]
    return Result(
        status=status if scores[settings.gate.metric] >= settings.gate.min_score else "below_gate",
        run_id=manifest.run_id,
        release=registry.child(folder_of(manifest.run_id)).uri,
        promoted=promoted,
        scores=scores,
        plan=manifest.fields["plan"]["mode"],
    )

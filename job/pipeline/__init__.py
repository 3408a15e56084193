"""The flow and nothing else: each phase returns a frozen value that the next one takes.

`run` finds out whether there is anything to do, and `learn` does it: `train`, judge, export, release. TensorFlow is
imported between the two, so that a night without new data costs seconds. Of several workers, all `train` together.
"""

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from job import dataset, identity, publish, storage
from job.checkpoint import Shelf
from job.dataset import Dataset
from job.errors import JobError
from job.pipeline import together
from job.pipeline.surroundings import Surroundings
from job.publish import History, Manifest
from job.result import Result, Status
from job.settings import Settings
from job.storage import Store
from job.telemetry import recorded
from job.workers import Terminated

if TYPE_CHECKING:
    from job.pipeline.phases import Trained

__all__ = ["PHASES", "Surroundings", "learn", "run", "shelf", "train"]
logger = logging.getLogger(__name__)

PHASES = ("survey", "dataset", "devices", "audit", "weights", "model", "training", "evaluation", "export", "release")


def run(settings: Settings, around: Surroundings) -> Result:
    """From settings to a release, or to the finding that there is one already.

    Raises:
        JobError: with the exit code that says whose fault it was.
    """
    with around.phase("survey"):
        models = storage.connect(settings.output.uri).child(settings.name)
        models.probe()
        listing = dataset.survey(settings.dataset)
        history = publish.history(models)
        if seen := history.seen(listing.digest, settings.written(), identity.code()):
            return _unchanged(settings, models, seen)
    with around.phase("dataset"):
        data = dataset.fetch(listing, settings.dataset, settings.cache, around.telemetry)
    run_id = identity.resolve(settings.shaping(), data.digest)
    if found := publish.find(models, run_id):
        return _unchanged(settings, models, found)
    try:
        with tempfile.TemporaryDirectory(prefix="graft-") as scratch, recorded(Path(scratch) / "logs" / "log.jsonl"):
            if around.crew.size > 1:
                together.train(settings, around, data, run_id, shelf(settings, models, run_id))
                if not around.crew.chief:
                    release = together.awaited(models, run_id, around)
                    return _told(settings, models, release, "released", release.won)
            return learn(settings, around, data, models, history, run_id, Path(scratch))
    except (JobError, Terminated) as error:
        error.run_id = run_id
        raise


def learn(
    settings: Settings,
    around: Surroundings,
    data: Dataset,
    models: Store,
    history: History,
    run_id: str,
    scratch: Path,
) -> Result:
    """From images on this disk to a release."""
    kept = shelf(settings, models, run_id)
    trained = train(settings, around, data, history, kept)

    from job.pipeline import phases

    with around.phase("evaluation"):
        report, challenger = phases.judged(trained)
    with around.phase("export"):
        bundle = phases.exported(settings, trained, scratch)
    with around.phase("release"):
        facts = phases.Facts(settings, run_id, data, trained, report, bundle, history)
        release, decision = phases.released(facts, models, challenger)
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


def train(settings: Settings, around: Surroundings, data: Dataset, history: History, kept: Shelf) -> "Trained":
    """From images on this disk to a trained classifier."""
    with around.phase("devices"):
        from job.pipeline import phases  # TensorFlow from here on

        team = phases.joined(settings, around)
    with around.phase("audit"):
        census, splits = phases.audited(settings, data, around.telemetry)
    with around.phase("weights"):
        weights, splits = phases.weighted(settings, splits, around.keras_home, history)
    with around.phase("model"):
        classifier, feed, plan = phases.built(settings, splits, weights, team, around.telemetry)
    with around.phase("training"):
        fitted = phases.fitted(settings, classifier, plan, feed, team, weights, kept, around)
    return phases.Trained(team, census, weights, classifier, feed, plan, fitted)


def shelf(settings: Settings, models: Store, run_id: str) -> Shelf:
    """Where the state of a run is kept while it works."""
    folder = settings.cache.dir / "checkpoints" / run_id
    return Shelf(folder, models.child(f"runs/{run_id}/checkpoints"), settings.checkpoint.interval_seconds)


def _unchanged(settings: Settings, models: Store, manifest: Manifest) -> Result:
    """There is a release of just this; what an earlier run left undone is finished."""
    models.delete(f"runs/{manifest.run_id}")
    promoted = publish.finish(models, manifest)
    found = _told(settings, models, manifest, "unchanged", promoted)
    if found.status == "unchanged" and not promoted:
        logger.info("it is not the champion; `graft promote %s` makes it so", found.release)
    return found


def _told(settings: Settings, models: Store, manifest: Manifest, status: Status, promoted: bool) -> Result:
    """What a release that exists already says of its run."""
    scores = manifest.fields["scores"]
    return Result(
        status=status if scores[settings.gate.metric] >= settings.gate.min_score else "below_gate",
        run_id=manifest.run_id,
        release=models.child(publish.folder_of(manifest.run_id)).uri,
        promoted=promoted,
        scores=scores,
        plan=manifest.fields["plan"]["mode"],
    )

"""The flow and nothing else: each phase returns a frozen value that the next one takes.

`run` finds out whether there is anything to do, and `learn` does it. TensorFlow is imported between the two, so that a
night without new data costs seconds.
"""

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

from job import dataset, identity, publish, storage
from job.dataset import Dataset
from job.errors import JobError
from job.publish import History, Manifest
from job.result import Result
from job.settings import Settings
from job.storage import Store
from job.telemetry import Telemetry, recorded
from job.workers import Stop, Terminated

logger = logging.getLogger(__name__)

PHASES = ("survey", "dataset", "devices", "audit", "weights", "model", "training", "evaluation", "export", "release")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run is given besides its settings.

    Attributes:
        telemetry: who is told what goes on.
        stop: SIGTERM.
        keras_home: where Keras keeps its own weights files.
    """

    telemetry: Telemetry
    stop: Stop
    keras_home: Path


def run(settings: Settings, around: Surroundings) -> Result:
    """From settings to a release, or to the finding that there is one already.

    Raises:
        JobError: with the exit code that says whose fault it was.
    """
    with around.telemetry.phase("survey"):
        models = storage.connect(settings.output.uri).child(settings.name)
        models.probe()
        listing = dataset.survey(settings.dataset)
        history = publish.history(models)
        if seen := history.seen(listing.digest, settings.written(), identity.code()):
            return _unchanged(settings, models, seen)
    with around.telemetry.phase("dataset"):
        data = dataset.fetch(listing, settings.dataset, settings.cache, around.telemetry)
    run_id = identity.resolve(settings.shaping(), data.digest)
    if found := publish.find(models, run_id):
        return _unchanged(settings, models, found)
    try:
        return learn(settings, around, data, models, history, run_id)
    except (JobError, Terminated) as error:
        error.run_id = run_id
        raise


def learn(
    settings: Settings, around: Surroundings, data: Dataset, models: Store, history: History, run_id: str
) -> Result:
    """From images on this disk to a release."""
    telemetry = around.telemetry
    with tempfile.TemporaryDirectory(prefix="graft-") as scratch, recorded(Path(scratch) / "logs" / "log.jsonl"):
        with telemetry.phase("devices"):
            from job.pipeline import phases  # TensorFlow from here on

            team = phases.joined(settings, around)
        with telemetry.phase("audit"):
            census, splits = phases.audited(settings, data, telemetry)
        with telemetry.phase("weights"):
            weights, splits = phases.weighted(settings, splits, around.keras_home, history)
        with telemetry.phase("model"):
            classifier, feed, plan = phases.built(settings, splits, weights, team, telemetry)
        with telemetry.phase("training"):
            shelf = phases.shelf(settings, models, run_id)
            fitted = phases.trained(settings, classifier, plan, feed, team, weights, shelf, around)
        with telemetry.phase("evaluation"):
            report, challenger = phases.judged(classifier, feed)
        with telemetry.phase("export"):
            bundle = phases.exported(settings, classifier, splits, team, Path(scratch))
        with telemetry.phase("release"):
            facts = phases.Facts(settings, run_id, data, census, splits, weights, plan, fitted, report, bundle, history)
            release, decision = phases.released(facts, models, challenger)
            shelf.clear()
    passed = report.scores[settings.gate.metric] >= settings.gate.min_score
    return Result(
        "released" if passed else "below_gate", run_id, release.uri, decision.promote, report.scores, plan.mode
    )


def _unchanged(settings: Settings, models: Store, manifest: Manifest) -> Result:
    """There is a release of just this; what an earlier run left undone is finished."""
    models.delete(f"runs/{manifest.run_id}")
    scores = manifest.fields["scores"]
    passed = scores[settings.gate.metric] >= settings.gate.min_score
    uri, promoted = models.child(publish.folder_of(manifest.run_id)).uri, publish.finish(models, manifest)
    if passed and not promoted:
        logger.info("it is not the champion; `graft promote %s` makes it so", uri)
    return Result(
        status="unchanged" if passed else "below_gate",
        run_id=manifest.run_id,
        release=uri,
        promoted=promoted,
        scores=scores,
        plan=manifest.fields["plan"]["mode"],
    )

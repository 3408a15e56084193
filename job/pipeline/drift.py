"""Whether new images differ from those that the last release was made of: GRAFT_TRIGGER_DRIFT_P.

Imported late: TensorFlow comes with it. The features are kept where those of the training are, so
a run that goes on computes none of them again.
"""

import logging
from dataclasses import replace

import numpy as np

from job import audit, publish
from job.audit import Splits
from job.batches import collect_labels
from job.context import RunContext
from job.errors import DatasetError
from job.measurement import TwoSampleTest, compare_samples
from job.pipeline import phases
from job.pipeline.drift_samples import Samples, draw_samples
from job.pipeline.inputs import RunInputs
from job.release import Manifest, folder_of
from job.selection import freeze_backbone
from job.settings import AUTO, Settings
from job.telemetry import FactsFound

logger = logging.getLogger(__name__)


def explain_likeness(inputs: RunInputs, baseline: Manifest, context: RunContext) -> str:
    """Why the new images are no reason to train: they may come from where the learnt ones do.

    Args:
        inputs: of the run, with at least one new image.
        baseline: the release since which images are new.
        context: of the run.

    Returns:
        nothing if they differ: by the test, or because a class is new. Nor if nothing is left to
        compare them with.
    """
    settings = inputs.settings
    release = inputs.registry.child(folder_of(baseline.run_id))
    inventory = release.read(publish.INVENTORY)
    seen, used = publish.list_known_images(inventory), publish.list_used_images(inventory)
    samples = draw_samples(inputs.data.records, seen, used, settings.seed)
    labels = {record.label for record in samples.new}
    if unknown := sorted(labels - set(baseline.classes)):
        logger.info("new images are of new classes: %s", ", ".join(unknown))
        return ""

    found = _compare_images(inputs, baseline, samples, context)
    if not found.new:
        logger.warning("new images cannot be compared: none of the learnt ones is left")
        return ""
    numbers = f"p = {found.p_value:.4f}, {found.new:,} new images against {found.known:,}"
    context.telemetry.emit(FactsFound({"difference of new images": numbers}))
    limit = settings.trigger.drift_p
    if limit is not None and found.p_value <= limit:
        logger.info("new images differ from the learnt ones: %s", numbers)
        return ""
    return (
        f"new images do not differ from the learnt ones: {numbers}; expected at most {limit:g} "
        "(GRAFT_TRIGGER_DRIFT_P)"
    )


def _compare_images(
    inputs: RunInputs, baseline: Manifest, samples: Samples, context: RunContext
) -> TwoSampleTest:
    """Compute the features of the samples, where they are not kept, and compare them."""
    settings = _resolve_backbone(inputs.settings, baseline)
    telemetry = context.telemetry
    with context.phase("devices"):
        workers = phases.join_devices(settings, context)
    with context.phase("audit"):
        data = replace(inputs.data, records=samples.new + samples.known)
        cache = settings.cache.dir / "audit"
        try:
            # However many are broken: the run that trains says so.
            census = audit.inspect(data, 1.0, cache, telemetry, for_training=False)
        except DatasetError:
            return TwoSampleTest(1.0, 0, 0)
        splits = audit.hold_out(census, baseline.classes)
    with context.phase("weights"):
        weights, splits = phases.locate_weights(settings, splits, context.keras_home, [baseline])
    with context.phase("model"):
        training = phases.make_training_context(inputs, workers, context)
        frozen = freeze_backbone(settings.backbone.name, settings, weights, splits, training)
    with context.phase("measurement"):
        rows = training.cache.load(frozen.network, frozen.feed, splits.test, telemetry)[:]
        is_new = _mark_new(splits, samples)
        return compare_samples(rows, collect_labels(splits.test), is_new, settings.seed)


def _resolve_backbone(settings: Settings, baseline: Manifest) -> Settings:
    """The settings with the backbone of the release, where several may be chosen."""
    if settings.backbone.name != AUTO:
        return settings
    backbone = settings.backbone.resolve(baseline.fields["backbone"]["name"])
    return settings.model_copy(update={"backbone": backbone})


def _mark_new(splits: Splits, samples: Samples) -> np.ndarray:
    """Which of the images are new: bool [n]."""
    new = {(record.sha256, record.label) for record in samples.new}
    marks = []
    for example in splits.test:
        marks.append((example.sha256, splits.classes[example.label]) in new)
    return np.array(marks)

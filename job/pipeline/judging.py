"""The evaluation of a run: what the trained classifier predicts, and how good that is.

Imported late: TensorFlow comes with it.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from job import evaluation, model, training
from job.evaluation import Report
from job.pipeline import records
from job.pipeline.inputs import RunInputs
from job.pipeline.outcome import TrainedClassifier
from job.publish import Challenger, FrozenFeatures
from job.settings.fields import Pooling


def evaluate(
    inputs: RunInputs, trained: TrainedClassifier, begin_export: Callable[[], None]
) -> tuple[Report, Challenger]:
    """The scores, and the classifier's probabilities for the test images.

    The temperature that calibrates it is folded into the classifier.

    Args:
        inputs: of the run.
        trained: the classifier, and all that is known of it.
        begin_export: called as soon as the classifier is complete.
    """
    classifier, splits = trained.classifier, trained.splits
    logits_val, logits_test = _compute_logits(trained)
    report = evaluation.judge(logits_test, logits_val, splits)
    # Maps show differences of logits as they were before the calibration.
    kernel = classifier.head.get_layer("logits").kernel.numpy()
    model.fold_temperature(classifier, report.temperature)
    begin_export()
    report = _explain_mistakes(report, trained, kernel)
    calibrated = softmax(logits_test / report.temperature, axis=1).astype(np.float32)
    challenger = Challenger(
        classes=splits.classes,
        examples=splits.test,
        probabilities=calibrated,
        features=_find_frozen_features(inputs, trained),
        machine=trained.workers.fingerprint,
    )
    return report, challenger


def _compute_logits(trained: TrainedClassifier) -> tuple[np.ndarray, np.ndarray]:
    """The logits of the validation and of the test images: float32 [n, classes].

    No image runs through a backbone that is as it was pre-trained, if its features are known.
    """
    classifier, feed, splits = trained.classifier, trained.network.feed, trained.splits
    if trained.plan.mode != "none":
        telemetry = trained.training.telemetry
        logits_val = training.predict(classifier, feed, splits.val, telemetry)
        return logits_val, training.predict(classifier, feed, splits.test, telemetry)
    features = trained.features
    if features:
        logits_val = training.apply_head(classifier, features, features.val)
        return logits_val, training.apply_head(classifier, features, features.test)
    examples = [*splits.val, *splits.test]
    logits = training.predict_frozen(classifier, feed, examples, trained.training)
    return logits[: len(splits.val)], logits[len(splits.val) :]


def _explain_mistakes(report: Report, trained: TrainedClassifier, kernel: np.ndarray) -> Report:
    """Add where the model looked in its worst mistakes, if a linear head on averages decides.

    Args:
        report: of the classifier.
        trained: the classifier.
        kernel: of its last layer, float32 [d, classes].
    """
    classifier, feed = trained.classifier, trained.network.feed
    head = classifier.spec.head
    if head.pooling != "avg" or head.units or not report.mistakes:
        return report
    examples = {example.path: example for example in feed.splits.test}
    mistaken = [examples[mistake.path] for mistake in report.mistakes]
    if trained.plan.mode == "none":
        maps = training.load_feature_maps(classifier, feed, mistaken, trained.training)
    else:
        maps = training.compute_feature_maps(classifier, feed, mistaken)
    classes = classifier.classes
    predicted = np.array([classes.index(mistake.predicted) for mistake in report.mistakes])
    true = np.array([classes.index(mistake.true) for mistake in report.mistakes])
    return report.with_evidence(evaluation.compute_class_maps(maps, kernel, predicted, true))


def _find_frozen_features(inputs: RunInputs, trained: TrainedClassifier) -> FrozenFeatures | None:
    """The features of the test images for a champion with this very backbone, if they are known."""
    # A release computes in float32.
    features = trained.features
    if features is None or trained.training.precision != "float32":
        return None
    measured_pooling = trained.network.classifier.spec.head.pooling
    # Heads on all stages take the average of the last one.
    known: tuple[Pooling, ...] = ("max",) if measured_pooling == "max" else ("avg", "stages")
    by_pooling: dict[str, NDArray[np.float32]] = {}
    for pooling in known:
        by_pooling[pooling] = features.take_columns(features.test, pooling).features
    return FrozenFeatures(records.backbone_fields(inputs, trained), by_pooling)

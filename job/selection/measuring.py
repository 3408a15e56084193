"""What is measured before anything is trained: the features of the images, and what they tell."""

from dataclasses import dataclass

from job.batches import Feed
from job.linear import join
from job.measurement import Measurement, Suspects, find_suspects, measure
from job.model import Classifier
from job.training import StageFeatures, TrainingContext, load_stage_features


@dataclass(frozen=True, slots=True)
class MeasuredData:
    """The features of the images, and what they tell.

    Attributes:
        features: of the pre-trained backbone, by stage.
        measurement: the kind and the amount of the data.
        suspects: images whose label may be wrong, among all images: those of the training,
            the validation and the test images in this order.
    """

    features: StageFeatures
    measurement: Measurement
    suspects: Suspects


def measure_data(classifier: Classifier, feed: Feed, context: TrainingContext) -> MeasuredData:
    """Measure the data on a backbone that is still as it was pre-trained."""
    features = load_stage_features(classifier, feed, context)
    return measure_features(features, context.gate.metric)


def measure_features(features: StageFeatures, metric: str) -> MeasuredData:
    """Measure what features of a pre-trained backbone tell of the data.

    The test images take part in the search for wrong labels alone.

    Args:
        features: of all images.
        metric: a key of `METRICS`.
    """
    measurement = measure(features.train, features.val, features.groups, metric)
    everything = join(features.train, features.val, features.test)
    return MeasuredData(features, measurement, find_suspects(everything))

"""The export of a run, by a process that starts as soon as it is known what it will export.

Imported late: TensorFlow comes with it.
"""

from job.audit import Splits
from job.export import Bundle, Exporter, ExportRequest
from job.export.reference import classify, read_padded
from job.images import prepare_few
from job.model import Classifier
from job.pipeline.outcome import Network, TrainedClassifier
from job.settings import Settings
from job.telemetry import Progressed, Telemetry
from job.training import TrainingContext

# Exports are compared in float32 on the CPU: exactly where training computed so too, else within
# its rounding.
REDUCED_PRECISION_TOLERANCE = 0.02
COMPARED_IMAGES = 32


def start_early(
    exporter: Exporter, settings: Settings, network: Network, training: TrainingContext
) -> None:
    """Let the process start TensorFlow, build and trace, while this one solves the head.

    A training by steps takes long and needs the processors and the memory for itself.
    """
    if network.is_only_solved:
        splits = network.feed.splits
        exporter.start(_describe_export(settings, network.classifier, splits, training))


def send_classifier(exporter: Exporter, settings: Settings, trained: TrainedClassifier) -> None:
    """Let the process write every format, and compare it with the classifier on real images.

    It goes on while this one does.
    """
    classifier, splits = trained.classifier, trained.splits
    request = _describe_export(settings, classifier, splits, trained.training)
    process = exporter.start(request)
    process.send_variables([variable.numpy() for variable in classifier.model.variables])
    encoded = read_padded(request.images, request.batch_size)
    pixels = prepare_few(encoded, classifier.image_size, settings.backbone.image_fit)
    probabilities = classify(classifier.model, pixels)[: len(request.images)]
    process.send_reference(pixels, probabilities)


def finish_export(exporter: Exporter, settings: Settings, telemetry: Telemetry) -> Bundle:
    """Wait until every format is compared, and take the files over."""
    formats = len(settings.export.formats)

    def show_format(name: str, place: int) -> None:
        telemetry.emit(Progressed(place, formats, "formats", name))

    return exporter.finish(show_format)


def _describe_export(
    settings: Settings, classifier: Classifier, splits: Splits, training: TrainingContext
) -> ExportRequest:
    """What the process has to know besides what is learnt."""
    # A few images of all classes: the examples are sorted by class.
    step = max(1, len(splits.test) // COMPARED_IMAGES)
    compared = splits.test[::step][:COMPARED_IMAGES]
    exact = training.precision == "float32" and "GPU" not in training.workers.devices[0]
    return ExportRequest(
        backbone=classifier.spec.backbone,
        head=classifier.spec.head,
        classes=splits.classes,
        formats=settings.export.formats,
        seed=settings.seed,
        threads=settings.devices.threads,
        images=tuple(example.path for example in compared),
        batch_size=COMPARED_IMAGES,
        tolerance=0.0 if exact else REDUCED_PRECISION_TOLERANCE,
    )

"""About how long a run takes, from one timed batch and what an export costs.

Imported late: TensorFlow comes with it.
"""

import time
from dataclasses import dataclass

import tensorflow as tf

from job import publish, storage
from job.errors import JobError
from job.pipeline.outcome import Network
from job.settings import Settings

# How many images the network is timed with.
TIMED_BATCH = 8
# Seconds that each format takes on two cores with a small backbone, if no release tells.
EXPORT_SECONDS = {"saved_model": 10.0, "keras": 4.0, "onnx": 15.0, "litert": 15.0}
# How many images an export is compared on.
COMPARED_IMAGES = 32


@dataclass(frozen=True, slots=True)
class TimeForecast:
    """Seconds of a run on this machine, at most: what is in the cache already takes no time."""

    start: float
    training: float
    evaluation: float
    export: float

    @property
    def in_words(self) -> str:
        parts = (self.start, self.training, self.evaluation, self.export)
        start, training, evaluation, export = (f"{seconds:,.0f} s" for seconds in parts)
        return (
            f"about {sum(parts):,.0f} s at most ({start} start, {training} training, "
            f"{evaluation} evaluation, {export} export)"
        )


def forecast_time(
    settings: Settings,
    network: Network,
    *,
    races: bool,
    start_seconds: float,
    import_seconds: float,
) -> TimeForecast:
    """How long each part of a run takes.

    Args:
        settings: of the run.
        network: as built.
        races: whether candidates are trained by steps where the plan is open.
        start_seconds: what passed until it was built.
        import_seconds: what TensorFlow took to start. The export starts it again.
    """
    forward = _time_image(settings, network)
    splits = network.feed.splits
    features = forward * (len(splits.train) + len(splits.val))
    # A training step costs three forward passes: the way back takes about twice the way forward.
    steps = settings.training.epochs * (3 * len(splits.train) + len(splits.val))
    trained = 0.0
    if network.plan is None:
        trained = settings.transfer.budget * steps if races else 0.0
    elif network.plan.mode != "none":
        trained = steps
    return TimeForecast(
        start=start_seconds,
        training=features + forward * trained,
        evaluation=forward * (len(splits.val) + len(splits.test)),
        export=import_seconds + _forecast_export(settings, network, forward),
    )


def _time_image(settings: Settings, network: Network) -> float:
    """Seconds that one image takes through the network, as part of a batch."""
    images = tf.zeros((TIMED_BATCH, settings.image_size, settings.image_size, 3))
    infer = tf.function(lambda batch: network.classifier.model(batch, training=False))
    infer(images)  # traces the function
    began = time.monotonic()
    infer(images)
    return (time.monotonic() - began) / TIMED_BATCH


def _forecast_export(settings: Settings, network: Network, forward: float) -> float:
    """Seconds of the export: what the last release of this backbone took, or about that."""
    try:
        history = publish.read_history(storage.connect(settings.output.uri).child(settings.name))
        for manifest in history:
            took = manifest.fields.get("export_seconds", {})
            if manifest.backbone == network.classifier.spec.backbone.name and set(took) == set(
                settings.export.formats
            ):
                return float(sum(took.values()))
    except JobError:
        pass  # `graft check` is there to say what is wrong with the output
    compared = 2 * COMPARED_IMAGES * forward
    return sum(EXPORT_SECONDS[name] + compared for name in settings.export.formats)

"""About how long a run takes, from one timed batch and what an export costs.

Imported late: TensorFlow comes with it.
"""

import contextlib
import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass

import tensorflow as tf

from job import publish, selection, storage
from job.errors import JobError
from job.pipeline.exporting import COMPARED_IMAGES
from job.pipeline.outcome import Network
from job.release import Manifest
from job.selection import MeasuredData
from job.settings import Settings
from job.telemetry import WorkForecast

# How many images the network is timed with. A run does it too, so they are few.
TIMED_BATCH = 4
# Seconds that each format takes on two cores with a small backbone, if no release tells.
EXPORT_SECONDS = {"saved_model": 10.0, "keras": 4.0, "onnx": 15.0, "litert": 15.0}
# So many of the newest releases are looked at for that.
MANIFESTS_READ = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeForecast:
    """Seconds of a run on this machine, at most: what is in the cache already takes no time."""

    start: float = 0.0
    measurement: float
    training: float
    evaluation: float
    export: float
    races: bool

    @property
    def in_words(self) -> str:
        parts = (self.start, self.measurement + self.training, self.evaluation, self.export)
        start, training, evaluation, export = (f"{seconds:,.0f} s" for seconds in parts)
        return (
            f"about {sum(parts):,.0f} s at most ({start} start, {training} training, "
            f"{evaluation} evaluation, {export} export)"
        )

    @property
    def event(self) -> WorkForecast:
        """For those who watch the run."""
        seconds = {
            "measurement": self.measurement,
            "training": self.training,
            "evaluation": self.evaluation,
            "export": self.export,
        }
        return WorkForecast(seconds, self.races)


def forecast_time(
    settings: Settings, network: Network, history: Iterable[Manifest], *, races: bool = True
) -> TimeForecast:
    """How long each part of a run takes after the network is built.

    Args:
        settings: of the run.
        network: as built.
        history: earlier releases. The newest one of this backbone and these formats says what an
            export takes.
        races: whether candidates are trained by steps where the plan is open.
    """
    forward = _time_image(settings, network)
    splits = network.feed.splits
    # A training step costs three forward passes: the way back takes about twice the way forward.
    steps = settings.training.epochs * (3 * len(splits.train) + len(splits.val))
    races = races and network.plan is None
    trained = 0.0
    if races:
        trained = settings.transfer.budget * steps
    elif network.plan and network.plan.mode != "none":
        trained = steps
    return TimeForecast(
        measurement=forward * (len(splits.train) + len(splits.val)),
        training=forward * trained,
        evaluation=forward * (len(splits.val) + len(splits.test)),
        export=_forecast_export(settings, network, history, forward),
        races=races,
    )


def forecast_race(network: Network, measured: MeasuredData) -> WorkForecast:
    """What the measurement says of the race: nothing new, or that there is none."""
    kind, judged = measured.measurement.kind, len(network.feed.splits.val)
    if selection.is_worth_a_race(kind, judged):
        return WorkForecast({}, races=True)
    return WorkForecast({"training": 0.0})


def read_history(settings: Settings) -> Iterable[Manifest]:
    """Earlier releases, if the output can be read."""
    try:
        return publish.read_history(storage.connect(settings.output.uri).child(settings.name))
    except JobError:
        return ()  # `graft check` is there to say what is wrong with the output


def _time_image(settings: Settings, network: Network) -> float:
    """Seconds that one image takes through the network, as part of a batch."""
    images = tf.zeros((TIMED_BATCH, settings.image_size, settings.image_size, 3))
    # Not as a graph, which takes seconds to build.
    network.classifier.model(images, training=False)  # warms up
    began = time.monotonic()
    network.classifier.model(images, training=False).numpy()
    return (time.monotonic() - began) / TIMED_BATCH


def _forecast_export(
    settings: Settings, network: Network, history: Iterable[Manifest], forward: float
) -> float:
    """Seconds of the export: what the last release of this backbone took, or about that."""
    name, formats = network.classifier.spec.backbone.name, set(settings.export.formats)
    with contextlib.suppress(JobError):  # nothing depends on it
        for manifest in itertools.islice(history, MANIFESTS_READ):
            took = manifest.fields.get("export_seconds", {})
            if manifest.backbone == name and set(took) == formats:
                # With the start of the process, which earlier versions did not record.
                return float(manifest.fields.get("seconds", {}).get("export", sum(took.values())))
    compared = 2 * COMPARED_IMAGES * forward
    return sum(EXPORT_SECONDS[name] + compared for name in settings.export.formats)

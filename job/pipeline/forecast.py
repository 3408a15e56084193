"""About how long a run takes and how much memory, from a timed batch, steps and earlier exports.

Imported late: TensorFlow comes with it.
"""

import contextlib
import itertools
import resource
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

import tensorflow as tf

from job import publish, selection, storage, training
from job.errors import JobError
from job.model import Cut
from job.pipeline.exporting import COMPARED_IMAGES
from job.pipeline.outcome import Network
from job.release import Manifest
from job.selection import MeasuredData
from job.settings import Settings
from job.telemetry import WorkForecast
from job.training import TrainingContext
from job.transfer import Stage

# How many images the network is timed with. A run does it too, so they are few.
TIMED_BATCH = 4
# Seconds that each format takes on two cores with a small backbone, if no release tells.
EXPORT_SECONDS = {"saved_model": 10.0, "keras": 4.0, "onnx": 15.0, "litert": 15.0}
# So many of the newest releases are looked at for that.
MANIFESTS_READ = 5
# How many training steps `graft plan` times, after one that builds the graphs.
TIMED_STEPS = 3
# What most candidates of a race cost less than, per step.
WHOLE = Stage("all", "all", 1.0, solved=False)


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
    def total(self) -> float:
        """Of the whole run."""
        parts = (self.start, self.measurement, self.training, self.evaluation, self.export)
        return sum(parts)

    @property
    def in_words(self) -> str:
        parts = (self.start, self.measurement + self.training, self.evaluation, self.export)
        start, training, evaluation, export = (f"{seconds:,.0f} s" for seconds in parts)
        return (
            f"about {self.total:,.0f} s at most ({start} start, {training} training, "
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
    settings: Settings,
    network: Network,
    history: Iterable[Manifest],
    *,
    races: bool = True,
    step_seconds: Iterable[float] | None = None,
) -> TimeForecast:
    """How long each part of a run takes after the network is built.

    Args:
        settings: of the run.
        network: as built.
        history: earlier releases. The newest one of this backbone and these formats says what an
            export takes.
        races: whether candidates are trained by steps where the plan is open.
        step_seconds: of the stages that are trained by steps, as `time_stages` has measured them.
            None: a step takes three times as long as its images take through the network.
    """
    forward = _time_image(settings, network)
    splits = network.feed.splits
    races = races and network.plan is None
    if step_seconds is None:
        # The way back takes about twice the way forward.
        step = 3 * forward * len(splits.train) / network.feed.steps
        is_trained = races or (network.plan is not None and network.plan.mode != "none")
        step_seconds = [step] if is_trained else []
    epochs = 0.0
    for seconds in step_seconds:
        epochs += network.feed.steps * seconds + forward * len(splits.val)
    trained = settings.training.epochs * epochs
    if races:
        trained *= settings.transfer.budget
    elif network.plan and network.plan.mode == "part":
        # Activations that can be kept are computed once, before the first step.
        views = max(network.feed.views, 1)
        trained += forward * (views * len(splits.train) + len(splits.val))
    return TimeForecast(
        measurement=forward * (len(splits.train) + len(splits.val)),
        training=trained,
        evaluation=forward * (len(splits.val) + len(splits.test)),
        export=_forecast_export(settings, network, history, forward),
        races=races,
    )


def time_stages(network: Network, context: TrainingContext, *, races: bool) -> list[float]:
    """Seconds of one step of each stage that is trained by steps. The weights change.

    Args:
        network: as built.
        context: of the training.
        races: whether candidates are trained where the plan is open. A step of `all` stands for
            those of all of them.
    """
    cut: Cut | None = None
    stages = [WHOLE] if races else []
    if network.plan:
        cut = network.plan.cut
        stages = [stage for stage in network.plan.stages if not stage.solved]
    seconds = []
    for stage in stages:
        divided = training.divide_classifier(network.classifier, stage, cut, network.feed, context)
        inputs = training.imitate_inputs(divided, network.feed, context)
        trainer = training.StageTrainer(divided, inputs, context)
        seconds.append(trainer.time_steps(TIMED_STEPS))
    return seconds


def read_peak_memory() -> tuple[int, int]:
    """The most bytes of memory that this process has taken so far, and of its fullest GPU."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes, except on macOS.
    host = peak if sys.platform == "darwin" else 1024 * peak
    gpus = [
        tf.config.experimental.get_memory_info(device.name)["peak"]
        for device in tf.config.list_logical_devices("GPU")
    ]
    return host, max(gpus, default=0)


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

"""What `import job` offers in Python: `job.train` and `job.load`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from job.commands.environment import DATA, OUTPUT, find_keras_home, make_uri, read_cache_settings
from job.context import RunContext
from job.publish import Prediction, Predictor, find_images
from job.result import Result
from job.settings import PREFIX
from job.settings import load as load_settings
from job.workers import Stop


class UnhandledStop(Stop):
    """Leaves signals to the program that called: a notebook has handlers of its own."""

    def install(self) -> None:
        """Handle nothing."""


class Model:
    """The model of a release, loaded once.

    Attributes:
        release: the URI of the release itself.
        classes: in the order of the outputs.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.release = predictor.uri
        self.classes = predictor.classes
        self._predictor = predictor

    def predict(self, images: str | Path | Sequence[str | Path], top: int = 5) -> list[Prediction]:
        """The classes of images, best first.

        Args:
            images: paths or URIs of images or of folders with images, or one of these.
            top: how many classes are returned for each image.

        Returns:
            one prediction for each image, in the order given and by name below a folder. One that
            could not be read has an `error`.

        Raises:
            DatasetError: a folder without images.
        """
        places = [images] if isinstance(images, str | Path) else images
        return list(self._predictor.predict(find_images(places), top))


def train(data: str | Path, output: str | Path, **settings: object) -> Result:
    """Train a classifier and release it, as `graft run` does.

    The environment counts as it does there, and the arguments win over it. No live page is served
    unless `telemetry={"port": …}` asks for it.

    Args:
        data: folder, archive, manifest or URI of labelled images.
        output: folder or URI for releases.
        settings: by their names, those of a group as a mapping: `name="flowers"`,
            `training={"epochs": 5}`.

    Returns:
        how the run ended. One below the gate is a result too.

    Raises:
        JobError: the run failed. The class says whose fault it was.
    """
    from job import pipeline, telemetry

    given = {DATA: make_uri(str(data)), OUTPUT: make_uri(str(output))}
    base = {"GRAFT_TELEMETRY_PORT": "0", **os.environ}
    loaded = load_settings({**base, **given, **_name_variables(settings)})
    with telemetry.serve(loaded.telemetry, loaded.name, pipeline.PHASES) as run_telemetry:
        context = RunContext(
            telemetry=run_telemetry, stop=UnhandledStop(), keras_home=find_keras_home()
        )
        outcome = pipeline.run(loaded, context)
        outcome = replace(outcome, seconds=run_telemetry.seconds)
        run_telemetry.emit(telemetry.RunEnded(outcome.as_dict()))
    return outcome


def load(release: str | Path, trust: bool = False) -> Model:
    """Load the model of a release.

    Args:
        release: path or URI of a release, or of a model, which means its champion.
        trust: whether the model is run even if it may do more than compute.

    Raises:
        ReleaseNotFound: there is no release.
        ReleaseError: it is damaged, not one of Graft's, or this TensorFlow cannot load it.
    """
    return Model(Predictor(make_uri(str(release)), read_cache_settings().dir, trust))


def _name_variables(settings: Mapping[str, object], prefix: str = PREFIX) -> dict[str, str]:
    """The variables of a tree of settings."""
    variables: dict[str, str] = {}
    for name, value in settings.items():
        variable = f"{prefix}{name.upper()}"
        if isinstance(value, Mapping):
            variables |= _name_variables(value, f"{variable}_")
        else:
            variables[variable] = _format_value(value)
    return variables


def _format_value(value: object) -> str:
    """A value as its variable would hold it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)

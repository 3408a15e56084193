"""What `import job` offers in Python: `train`, `load`, `submit`, `watch`, `runs`."""

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from job import launcher
from job.commands.environment import DATA, OUTPUT, make_uri, read_cache_settings
from job.commands.watched import run_watched
from job.publish import Prediction, Predictor, find_images
from job.result import Result
from job.settings import PREFIX
from job.settings import load as load_settings
from job.workers import Stop


class UnhandledStop(Stop):
    """Leaves signals to the program that called: a notebook has handlers of its own."""

    def install(self) -> None:
        """Handle nothing."""

    def ignore(self) -> None:
        """Ignore nothing."""


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
    given = {DATA: make_uri(str(data)), OUTPUT: make_uri(str(output))}
    base = {"GRAFT_TELEMETRY_PORT": "0", **os.environ}
    loaded = load_settings({**base, **given, **_name_variables(settings)})
    ending = run_watched(loaded, UnhandledStop())
    if ending.error:
        raise ending.error
    return ending.outcome


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


class Runs(tuple[launcher.Run, ...]):
    """The runs of a namespace, newest first, as a table where they are printed or shown."""

    def __str__(self) -> str:
        return launcher.format_table(self)

    def _repr_html_(self) -> str:
        """The table for a notebook."""
        return f"<pre>{html.escape(str(self))}</pre>"


def submit(
    template: str, *, key: str | None = None, namespace: str | None = None, **settings: object
) -> launcher.Submitted:
    """Start a run in a cluster, as `graft submit` does.

    Args:
        template: name of an installed template or schedule of the chart.
        key: who asks. The same key never starts a second run.
        namespace: that of the template. By default that of the kubeconfig's context.
        settings: in place of the template's own, as in `train`.

    Returns:
        the run, which goes on in the cluster.

    Raises:
        SettingsError: the settings cannot work, or the cluster refuses the run.
        TemporaryError: a quota leaves no room now, or the cluster is away.
    """
    return launcher.submit(_connect(namespace), template, _name_variables(settings), key)


def watch(
    run: str | launcher.Submitted,
    *,
    namespace: str | None = None,
    start_timeout: float | None = None,
    cancel: bool = False,
) -> Result:
    """Follow a run in a cluster to its end, and print what holds it up and its phases.

    Args:
        run: what `submit` returned, or its name.
        namespace: where it is. By default that of the kubeconfig's context.
        start_timeout: seconds within which a pod has to have begun.
        cancel: end the run too if the wait ends first, by Ctrl-C for example.

    Returns:
        how it ended. A run that failed has a result with an `error` too.

    Raises:
        TemporaryError: the wait ended before the run.
        SettingsError: there is no such run.
    """
    name = run if isinstance(run, str) else run.name
    return launcher.watch(
        _connect(namespace), name, print, start_timeout=start_timeout, cancel=cancel
    )


def runs(namespace: str | None = None) -> Runs:
    """The runs that a cluster remembers, with what came out of them, newest first.

    Args:
        namespace: where they are. By default that of the kubeconfig's context.
    """
    return Runs(launcher.list_runs(_connect(namespace)))


def _connect(namespace: str | None) -> launcher.Cluster:
    return launcher.connect(namespace, os.environ.get("KUBECONFIG"))


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

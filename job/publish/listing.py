"""The releases of a model as a person wants to see them: `graft releases`, `graft show`."""

import time
from dataclasses import dataclass

from job.errors import ReleaseNotFound
from job.publish.champion import is_champion, read_champion
from job.publish.history import read_history
from job.release import Manifest, folder_of, open_release
from job.storage import Store, connect


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """One release of a model.

    Attributes:
        manifest: of the release.
        written: when its manifest was written, as seconds since 1970. A copy has its own time.
        champion: whether it is the one in use.
    """

    manifest: Manifest
    written: float
    champion: bool

    @property
    def metric(self) -> str:
        """The score that decided about the release."""
        return str(self.manifest.fields["settings"].get("GRAFT_GATE_METRIC", "accuracy"))

    @property
    def score(self) -> float | None:
        """The value of `metric`, from 0 to 1. None if the release has no such score."""
        score: float | None = self.manifest.fields["scores"].get(self.metric)
        return score

    @property
    def date(self) -> str:
        """Day and minute in UTC."""
        return time.strftime("%Y-%m-%d %H:%M", time.gmtime(self.written))


def list_releases(uri: str) -> list[ReleaseRow]:
    """The releases of a model, newest first.

    Args:
        uri: of the registry, `<output uri>/<name>`.

    Raises:
        ReleaseNotFound: there is none.
    """
    registry = connect(uri)
    history = read_history(registry)
    champion = read_champion(registry)
    rows = []
    for manifest, written in history.dated():
        rows.append(ReleaseRow(manifest, written, is_champion(manifest, champion)))
    if not rows:
        raise ReleaseNotFound(
            f"{uri} has no releases.", f"Give a model, such as {registry.child('model').uri}."
        )
    return rows


def find_release(uri: str) -> tuple[Store, Manifest, bool]:
    """A release, its manifest, and whether it is the champion.

    Args:
        uri: of a release, or of a registry or its promoted.json, which mean the champion.

    Raises:
        ReleaseNotFound: there is no release.
        ReleaseError: its manifest is not valid.
    """
    store, manifest = open_release(uri)
    registry, found, _ = store.uri.rpartition(f"/{folder_of(manifest.run_id)}")
    # A release that was copied elsewhere has no registry.
    champion = read_champion(connect(registry)) if found else None
    return store, manifest, is_champion(manifest, champion)

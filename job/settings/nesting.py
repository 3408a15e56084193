"""Whether the releases and the data set are one inside the other."""

import os
from collections.abc import Iterator
from urllib.parse import unquote

from job.settings.tree import Settings


def find_nesting(settings: Settings) -> Iterator[str]:
    """Yield why the two addresses cannot go together, with the cure.

    Data beside the models of one bucket is fine. Releases among the images are not, because the
    next run would take them for classes.
    """
    data = _find_location(settings.dataset.uri)
    registry = f"{_find_location(settings.output.uri)}/{settings.name}"
    if _is_inside(registry, data):
        yield (
            f"GRAFT_OUTPUT_URI={settings.output.uri} is inside the data set "
            f"GRAFT_DATASET_URI={settings.dataset.uri}, and the next run would learn from the "
            "releases: give an address outside."
        )
    elif _is_inside(data, registry):
        yield (
            f"GRAFT_DATASET_URI={settings.dataset.uri} is inside the releases below "
            f"GRAFT_OUTPUT_URI={settings.output.uri}/{settings.name}: give the images."
        )


def _find_location(uri: str) -> str:
    """The address in one spelling. Links of a file system are followed."""
    scheme, _, location = uri.partition("://")
    if scheme == "file":
        location = os.path.realpath(unquote(location))
    return f"{scheme}://{location.rstrip('/')}"


def _is_inside(inner: str, outer: str) -> bool:
    return f"{inner}/".startswith(f"{outer}/")

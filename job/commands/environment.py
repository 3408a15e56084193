"""The variables that a verb works with: those of the process, and what the command line adds.

What is on the command line wins over the environment. Of that, DATA, OUTPUT and --set win over
--env-file.
"""

import argparse
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from job.addresses import AddressError, normalise
from job.errors import SettingsError

if TYPE_CHECKING:
    from job.settings import CacheSettings, Settings

DATA, OUTPUT = "GRAFT_DATASET_URI", "GRAFT_OUTPUT_URI"


def collect_environment(arguments: argparse.Namespace) -> dict[str, str]:
    """The environment of a verb that takes DATA, OUTPUT, --set and --env-file.

    Variables of the file that are not settings, such as `AWS_…` and `KERAS_HOME`, are set in this
    process too, because other libraries read them there.

    Raises:
        SettingsError: the file cannot be read, or a setting is given in two ways.
    """
    from job import settings

    given: dict[str, str] = {}
    if arguments.env_file:
        given = settings.read_env_file(arguments.env_file)
        for name, value in given.items():
            if not name.startswith(settings.PREFIX):
                os.environ[name] = value
    assigned = dict(arguments.set)
    places = {DATA: arguments.data, OUTPUT: arguments.output}
    for name, place in places.items():
        if not place:  # `make run` passes an empty DATA
            continue
        if name in assigned:
            raise SettingsError(
                f"{name} is given twice: {place!r} and --set {assigned[name]!r}.",
                "Keep one of them.",
            )
        assigned[name] = make_uri(place)
    return {**os.environ, **given, **assigned}


def load_settings(arguments: argparse.Namespace) -> "Settings":
    """The settings of a verb that takes DATA, OUTPUT, --set and --env-file.

    Raises:
        SettingsError: they cannot work.
    """
    from job import settings

    return settings.load(collect_environment(arguments))


def make_uri(text: str) -> str:
    """A path as a `file:///` URI. What cannot be used is left to the check of who reads it."""
    with suppress(AddressError):
        return normalise(text)
    return text


def find_result_path(environment: Mapping[str, str]) -> Path | None:
    """The file of GRAFT_RESULT_PATH.

    Read by hand, since settings that cannot work have a result too.
    """
    text = environment.get("GRAFT_RESULT_PATH")
    if not text:
        return None
    with suppress(RuntimeError):  # `~` names a user without a home
        return Path(text).expanduser()
    return Path(text)


def read_cache_settings() -> "CacheSettings":
    """Those of the cache alone. Of the others some are required, which only a run needs."""
    from job.settings import CacheSettings

    folder = os.environ.get("GRAFT_CACHE_DIR")
    return CacheSettings.model_validate({"dir": folder} if folder else {})


def find_keras_home() -> Path:
    """The folder where Keras keeps its weights files."""
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()

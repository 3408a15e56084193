"""Verbs about settings: `settings` and `init`."""

import argparse
import json
import textwrap
from pathlib import Path

from job.commands.environment import load_settings
from job.errors import SettingsError

COLUMNS = 100


def print_settings(arguments: argparse.Namespace) -> int:
    """Print every setting with its value, as JSON, or with --describe what they are."""
    if arguments.describe is not None:
        return _describe_settings(arguments.describe)
    print(json.dumps(load_settings(arguments).values(), indent=2))
    return 0


def init(arguments: argparse.Namespace) -> int:
    """Write a file to start from. An existing one stays as it is."""
    from job import settings

    path: Path = arguments.file
    chart = path.suffix in (".yaml", ".yml")
    text = settings.compose_values() if chart else settings.compose_env_file()
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise SettingsError(
            f"{path} exists, and is left as it is.",
            "Remove it, or name another file."
            if path.is_file()
            else "Name a file that is not there.",
        ) from error
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written: {error.strerror}.", "Name a file in a folder of yours."
        ) from error
    use = f"helm install NAME CHART --values {path}" if chart else f"graft run --env-file {path}"
    print(f"{path} is written. Fill in where the data set and the output are, then: {use}")
    return 0


def _describe_settings(name: str) -> int:
    """Print what the settings are that a name means."""
    from job import settings

    for number, setting in enumerate(settings.select_descriptions(name)):
        about = textwrap.fill(
            setting.text, COLUMNS, initial_indent="  ", subsequent_indent="  ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
        print("\n" * (number > 0) + setting.variable)
        print(f"  {'value':<10}{setting.value}")
        print(f"  {'default':<10}{setting.default_in_words}")
        print(about)
    return 0

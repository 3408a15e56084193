"""Where settings come from besides the environment: files of variables, and `NAME=VALUE`."""

import re
from pathlib import Path

from dotenv.parser import parse_stream

from job.errors import SettingsError
from job.settings.tree import PREFIX

# `training.epochs`, as the chart's tree of settings has it.
PATH_IN_TREE = re.compile(r"[a-z]\w*(\.[a-z]\w*)*")


def name_variable(name: str) -> str:
    """The variable of a setting: `training.epochs` and `GRAFT_TRAINING_EPOCHS` are the same.

    Raises:
        ValueError: the name has neither form. Whether there is such a setting is not checked.
    """
    if name.startswith(PREFIX):
        return name
    if PATH_IN_TREE.fullmatch(name):
        return f"{PREFIX}{name.replace('.', '_').upper()}"
    raise ValueError(f"expected GRAFT_… or a name such as training.epochs, got {name!r}")


def parse_assignment(text: str) -> tuple[str, str]:
    """The variable and the value of `training.epochs=5`.

    Raises:
        ValueError: it is no assignment to a setting.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"expected GRAFT_…=… or a setting such as training.epochs=…, got {text!r}")
    return name_variable(name.strip()), value


def read_env_file(path: Path) -> dict[str, str]:
    """The variables of a file with one NAME=VALUE per line, as `docker --env-file` takes it.

    Comments, `export` and quotes are understood as a shell does. Nothing is substituted. A name
    without `=` keeps what the environment has.

    Raises:
        SettingsError: the file cannot be read, or some lines of it. All of them are listed.
    """
    try:
        # What Windows writes may begin with a mark.
        with path.open(encoding="utf-8-sig") as file:
            bindings = list(parse_stream(file))
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or "it is not UTF-8"
        raise SettingsError(
            f"--env-file {path} cannot be read: {cause}.",
            "Give a text file with one NAME=VALUE per line. `graft init` writes one.",
        ) from error

    problems = []
    variables = {}
    for binding in bindings:
        if binding.error:
            line = binding.original.string.strip()
            problems.append(f"line {binding.original.line}: {line!r}")
        elif binding.key and binding.value is not None:
            variables[binding.key] = binding.value
    if problems:
        raise SettingsError(
            f"--env-file {path} has lines that are not NAME=VALUE:",
            "Correct them, or put a # before what is a comment.",
            tuple(problems),
        )
    return variables

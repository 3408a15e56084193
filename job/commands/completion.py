"""The verb `completion`: a script that completes the words of `graft` in a shell."""

import argparse

# The arguments that name files or folders.
FILES = {"data", "output", "release", "model", "images", "env_file", "file", "csv"}


def completion(arguments: argparse.Namespace) -> int:
    """Print the script of a shell. It is made from the parser, so it knows every word."""
    import shtab

    for command in _list_commands(arguments.parser):
        for action in command._actions:
            if action.dest in FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab reads it there
    print(shtab.complete(arguments.parser, arguments.shell))
    return 0


def _list_commands(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The parser of each verb."""
    commands: list[argparse.ArgumentParser] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            commands += action.choices.values()
    return commands

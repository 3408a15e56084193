"""What is said of a command line that cannot be understood."""

import argparse
from collections.abc import Mapping, Sequence

from job import console
from job.commands import outcome


def parse_words(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the words after `graft`. `verbs` of the parser's defaults is the parser of each verb.

    Raises:
        AnswerLost, BrokenPipeError: help or the version cannot be written.
        SystemExit: it was written, or the words cannot be understood.
    """
    try:
        return _parse_words(parser, words)
    except console.UsageError as error:
        outcome.report_usage_error(error.message, words)
        raise
    except SystemExit:
        # Not left to the end of the interpreter, which would end with a traceback.
        console.finish_answer(0)
        raise


def _parse_words(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    verbs: Mapping[str, argparse.ArgumentParser] = parser.get_default("verbs")
    verb = words[0] if words else "--help"
    if not verb.startswith("-") and verb not in verbs:
        parser.error(_explain_verb(verb, [*verbs, "--help", "--version"]))
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        explanation = f"unrecognized arguments: {' '.join(unknown)}"
        if "set" in arguments:
            explanation += _explain_settings(unknown)
        verbs.get(verb, parser).error(explanation)
    return arguments


def _explain_verb(verb: str, known: Sequence[str]) -> str:
    from job.settings.fields import find_nearest

    nearest = find_nearest(verb, known)
    hint = f" The nearest is `graft {nearest}`." if nearest else ""
    return f"{verb!r} is not a verb.{hint} `graft --help` lists all of them."


def _explain_settings(unknown: Sequence[str]) -> str:
    """How a setting is given, with the one that a flag such as `--batch-size` probably means."""
    from job.settings import VARIABLES

    examples = []
    for word in unknown:
        if not word.startswith("--"):
            continue
        name = word[2:].partition("=")[0].replace("-", "_").replace(".", "_").lower()
        for variable in VARIABLES.values():
            path = ".".join(filter(None, [variable.group, variable.key]))
            if name in (variable.key, path.replace(".", "_")):
                examples.append(f"--set {path}=VALUE")
    if not examples:
        return "\nA setting is given as --set NAME=VALUE, such as --set training.epochs=5."
    return f"\nA setting is given as --set NAME=VALUE: {' or '.join(examples)}."

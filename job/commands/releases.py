"""Verbs about releases: `verify`, `predict`, `evaluate`, `promote`."""

import argparse
import json
import logging
import os
import sys

from job import console
from job.commands.environment import make_uri
from job.errors import DatasetError


def verify(arguments: argparse.Namespace) -> int:
    """Check every file of a release against its manifest."""
    from job import publish

    verified = publish.verify(arguments.release)
    files = len(verified.manifest.files)
    print(f"{verified.store.uri}: {files} files, {verified.bytes:,} bytes, all as released.")
    return 0


def predict(arguments: argparse.Namespace) -> int:
    """Classify images with a release. An image that does not decode does not hide the others."""
    from job import publish
    from job.settings import CacheSettings

    # The other settings of a run, of which some are required, are not needed to classify.
    folder = os.environ.get("GRAFT_CACHE_DIR")
    cache = CacheSettings.model_validate({"dir": folder} if folder else {})

    code = 0
    predictions = publish.predict(arguments.release, arguments.images, cache.dir, arguments.top)
    for prediction in predictions:
        if prediction.error:
            code = DatasetError.exit_code
        if arguments.json:
            answer = {
                "image": str(prediction.image),
                "top": dict(prediction.top),
                "error": prediction.error or None,
            }
            print(json.dumps(answer))
        else:
            top = ", ".join(f"{name} {probability:.1%}" for name, probability in prediction.top)
            print(f"{prediction.image}: {prediction.error or top}")
    return code


def evaluate(arguments: argparse.Namespace) -> int:
    """Judge a release on other images, and write a report of it."""
    from job import publish, settings, telemetry
    from job.result import format_scores
    from job.settings import TelemetrySettings

    folder = arguments.output.absolute()
    given = {"GRAFT_DATASET_URI": make_uri(arguments.data), "GRAFT_OUTPUT_URI": folder.as_uri()}
    loaded = settings.load({**os.environ, **given})
    terminal = sys.stderr if sys.stderr.isatty() else None
    with telemetry.serve(TelemetrySettings(port=0), loaded.name, (), terminal) as shown:
        evaluation = publish.evaluate(arguments.release, loaded, folder, shown)
        seconds = sum(shown.seconds.values())

    for warning in evaluation.warnings:
        console.print_note(warning, logging.WARNING)
    print(f"evaluated in {seconds:.1f} s")
    print("\n".join(format_scores(evaluation.scores)))
    print(f"  {'images':<20}{evaluation.images:,} of {evaluation.classes} classes")
    print(f"  {'release':<20}{evaluation.release}")
    print(f"  {'report':<20}{folder / 'report.html'}")
    return 0


def promote(arguments: argparse.Namespace) -> int:
    """Make a release the champion, whatever its scores."""
    from job import publish

    print(f"{publish.promote_manually(arguments.release)} is the champion.")
    return 0

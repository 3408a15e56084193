"""Verbs about releases: `verify`, `predict`, `promote`."""

import argparse
import json
import os
from pathlib import Path

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

    code = 0
    predictions = publish.predict(arguments.release, arguments.images, _cache_dir(), arguments.top)
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


def promote(arguments: argparse.Namespace) -> int:
    """Make a release the champion, whatever its scores."""
    from job import publish

    print(f"{publish.promote_manually(arguments.release)} is the champion.")
    return 0


def _cache_dir() -> Path:
    from job.settings import CacheSettings

    # A release is classified with without the settings of a run, of which some are required.
    folder = os.environ.get("GRAFT_CACHE_DIR")
    return CacheSettings.model_validate({"dir": folder} if folder else {}).dir

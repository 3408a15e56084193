"""Verbs about releases, from `verify` to `prune`."""

import argparse
import csv
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from job import console
from job.commands.environment import make_uri, read_cache_settings
from job.errors import DatasetError, SettingsError
from job.plurals import format_count

if TYPE_CHECKING:
    from job.publish import Prediction, RankedImage

# What makes a spreadsheet take a cell for a formula, which may run a program or send the others.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
# So many phases of a run are named where a release is shown.
LONGEST_PHASES = 3


def verify(arguments: argparse.Namespace) -> int:
    """Check every file of a release against its manifest."""
    from job import publish

    verified = publish.verify(arguments.release)
    files = format_count(len(verified.manifest.files), "file")
    uri = console.escape_name(verified.store.uri)
    print(f"{uri}: {files}, {verified.bytes:,} bytes, all as released.")
    return 0


def list_releases(arguments: argparse.Namespace) -> int:
    """List the releases of a model, newest first."""
    from job import publish

    rows = publish.list_releases(arguments.model)
    print(f"{'run id':<20}{'written (UTC)':<19}{'score':<8}of")
    for row in rows:
        score = "?" if row.score is None else f"{row.score:.4f}"
        run_id = console.escape_name(row.manifest.run_id)
        line = f"{run_id:<20}{row.date:<19}{score:<8}{row.metric:<20}"
        print(f"{line}{'champion' if row.champion else ''}".rstrip())
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Show what a release is, how good it is and why it was promoted or not."""
    from job import publish

    store, manifest, champion = publish.find_release(arguments.release)
    if arguments.json:
        print(manifest.raw.decode(), end="")
        return 0
    from job.result import format_scores

    fields = manifest.fields
    data, plan, promotion = fields["data"], fields["plan"], fields["promotion"]
    images = data.get("images", {})
    parts = ", ".join(f"{count:,} {part}" for part, count in images.items())
    size = sum(file["bytes"] for file in manifest.files.values())
    facts = {
        "release": store.uri,
        "model": fields["name"],
        "champion": "yes" if champion else "no",
        "backbone": manifest.backbone or "?",
        "retrained": f"{plan.get('mode', '?')}. {plan.get('reason', '')}",
        "images": f"{parts} in {format_count(len(manifest.classes), 'class', 'classes')}",
        "classes": ", ".join(manifest.classes),
        "reason": promotion.get("reason", "?"),
        "files": f"{len(manifest.files)} with {size:,} bytes",
        **_describe_making(fields),
        "report": f"{store.uri}/report.html",
    }
    for name, fact in facts.items():
        print(f"  {name:<20}{console.escape_name(fact)}")
    print("\n".join(format_scores(fields["scores"], len(manifest.classes))))
    return 0


def _describe_making(fields: Mapping[str, Any]) -> dict[str, str]:
    """When, where and in what time a release was made. Older manifests do not say it."""
    if "created" not in fields:
        return {}
    seconds, workers = fields["seconds"], fields["workers"]
    # The longest ones are what a person can do something about.
    longest = sorted(seconds, key=seconds.__getitem__, reverse=True)[:LONGEST_PHASES]
    phases = ", ".join(f"{name} {seconds[name]:,.1f} s" for name in longest)
    together = f", {workers} workers" if workers > 1 else ""
    return {
        "created": fields["created"],
        "took": f"{sum(seconds.values()):,.1f} s ({phases})",
        "made on": f"{', '.join(fields['devices'])} ({fields['machine']}){together}",
    }


def predict(arguments: argparse.Namespace) -> int:
    """Classify images with a release. An image that does not decode does not hide the others."""
    from job import publish

    images = publish.find_images(arguments.images)
    cache = read_cache_settings().dir
    predictions = publish.predict(arguments.release, images, cache, arguments.top, arguments.trust)
    if arguments.csv:
        return _write_csv(arguments.csv, predictions, arguments.top)
    code = 0
    for prediction in predictions:
        if prediction.error:
            code = DatasetError.exit_code
        if arguments.json:
            answer = {
                "image": prediction.image,
                "top": dict(prediction.top),
                "error": prediction.error or None,
            }
            print(json.dumps(answer))
        else:
            top = ", ".join(format_guesses(prediction))
            line = f"{prediction.image}: {prediction.error or top}"
            print(console.escape_name(line))
    return code


def format_guesses(prediction: "Prediction") -> list[str]:
    """The best classes with their shares of 100. A model is never certain, so none is all of it."""
    guesses = []
    for name, probability in prediction.top:
        rounded = f"{probability:.1%}"
        share = {"100.0%": ">99.9%", "0.0%": "<0.1%"}.get(rounded, rounded)
        guesses.append(f"{name} {share}")
    return guesses


def _write_csv(path: Path, predictions: "Iterable[Prediction]", top: int) -> int:
    """Write a row for each image, with its best classes side by side."""
    columns = ["image"]
    for place in range(1, top + 1):
        columns += (
            ["label", "probability"] if place == 1 else [f"label_{place}", f"probability_{place}"]
        )
    count = unreadable = 0
    with _open_table(path) as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "error"])
        for prediction in predictions:
            count += 1
            unreadable += bool(prediction.error)
            answers = [value for answer in prediction.top for value in answer]
            padding = [""] * (2 * top - len(answers))
            row = [prediction.image, *answers, *padding, prediction.error]
            writer.writerow(map(_defuse_formula, row))
    print(f"{path}: {format_count(count, 'image')}, {unreadable:,} not readable")
    return DatasetError.exit_code if unreadable else 0


def _defuse_formula(value: str | float) -> str | float:
    """A cell that no spreadsheet computes. The apostrophe makes it text there, and is not shown."""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return value


def rank(arguments: argparse.Namespace) -> int:
    """List the images whose labels would tell most."""
    from job import publish

    images = publish.find_images(arguments.images)
    cache = read_cache_settings().dir
    rows = publish.rank(arguments.release, images, cache, arguments.by, arguments.trust)
    if arguments.csv:
        _write_ranking(arguments.csv, rows)
    print(f"{'':<6}{arguments.by:<10}{'first guess':<28}{'second guess':<28}image")
    for place, row in enumerate(rows[: arguments.top], start=1):
        first, second = (*format_guesses(row.prediction), "", "")[:2]
        uncertainty = "" if row.uncertainty is None else f"{row.uncertainty:.4f}"
        note = row.prediction.error or (f"a copy of {row.copy_of}" if row.copy_of else "")
        line = f"{place:<6}{uncertainty:<10}{first:<28}{second:<28}{row.prediction.image} {note}"
        print(console.escape_name(line.rstrip()))
    unreadable = sum(row.uncertainty is None for row in rows)
    print(f"{format_count(len(rows), 'image')}, {unreadable:,} not readable")
    return DatasetError.exit_code if unreadable else 0


def _write_ranking(path: Path, rows: "Iterable[RankedImage]") -> None:
    """Write a row for each image, the one to label first in the first."""
    heading = "rank,image,uncertainty,label,probability,label_2,probability_2,copy_of,error"
    with _open_table(path) as file:
        writer = csv.writer(file)
        writer.writerow(heading.split(","))
        for place, row in enumerate(rows, start=1):
            answers = [value for answer in row.prediction.top for value in answer]
            answers += [""] * (4 - len(answers))
            uncertainty = "" if row.uncertainty is None else row.uncertainty
            image, error = row.prediction.image, row.prediction.error
            cells = [place, image, uncertainty, *answers, row.copy_of, error]
            writer.writerow(map(_defuse_formula, cells))


@contextmanager
def _open_table(path: Path) -> Iterator[IO[str]]:
    """A new file for a table.

    Raises:
        SettingsError: it cannot be written.
    """
    try:
        # As the module csv asks for, so that each row ends in one way.
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        raise SettingsError(
            f"--csv {path} cannot be written: {error.strerror}.",
            "Name a file in a folder of yours.",
        ) from error


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
        evaluation = publish.evaluate(arguments.release, loaded, folder, shown, arguments.trust)
        seconds = sum(shown.seconds.values())

    for warning in evaluation.warnings:
        console.print_note(warning, logging.WARNING)
    print(f"evaluated in {seconds:.1f} s")
    print("\n".join(format_scores(evaluation.scores, evaluation.known_classes)))
    classes = format_count(evaluation.classes, "class", "classes")
    print(f"  {'images':<20}{evaluation.images:,} of {classes}")
    print(f"  {'release':<20}{evaluation.release}")
    print(f"  {'report':<20}{folder / 'report.html'}")
    return 0


def promote(arguments: argparse.Namespace) -> int:
    """Make a release the champion, whatever its scores."""
    from job import publish

    return _announce_champion(publish.promote_manually(arguments.release))


def roll_back(arguments: argparse.Namespace) -> int:
    """Make the champion before the present one the champion again."""
    from job import publish

    return _announce_champion(publish.roll_back(arguments.model))


def _announce_champion(uri: str) -> int:
    """Say which release is the champion, also to the MLflow server of the environment."""
    from job import publish, telemetry
    from job.result import Result

    if server := telemetry.TrackingServer.find(os.environ):
        _, manifest, _ = publish.find_release(uri)
        fields = manifest.fields
        chosen = Result(
            status="unchanged",
            run_id=manifest.run_id,
            release=uri,
            promoted=True,
            scores=fields["scores"],
            plan=fields["plan"].get("mode"),
            classes=len(manifest.classes),
        )
        run = telemetry.TrackedRun(
            model=fields["name"], result=chosen.as_dict(), params=fields["settings"]
        )
        telemetry.start_recording(server, run).wait()
    print(f"{uri} is the champion.")
    return 0


def prune(arguments: argparse.Namespace) -> int:
    """Delete old releases, or show which ones would be deleted."""
    from job import publish
    from job.storage import connect

    keep = _read_keep(arguments.keep)
    registry = connect(arguments.model)
    carry_out = publish.plan_retention if arguments.dry_run else publish.prune
    retentions = carry_out(registry, keep)
    for retention in retentions:
        print(f"{retention.manifest.run_id:<20}{retention.kept or 'deleted'}")
    deleted = sum(not retention.kept for retention in retentions)
    would = "would be " if arguments.dry_run else ""
    print(f"{deleted} of {format_count(len(retentions), 'release')} {would}deleted.")
    return 0


def _read_keep(given: int | None) -> int:
    """Return how many releases are kept, by the command line or GRAFT_OUTPUT_KEEP."""
    from pydantic import TypeAdapter, ValidationError

    text = os.environ.get("GRAFT_OUTPUT_KEEP", "") if given is None else given
    try:
        keep = TypeAdapter(int).validate_python(text)
    except ValidationError:
        keep = 0
    if keep < 1:
        raise SettingsError(
            f"Received {text!r} as the number of releases to keep; expected a number from 1 on.",
            "Give --keep N, or set GRAFT_OUTPUT_KEEP.",
        )
    return keep

"""Judge a release on other images than those of its run: `graft evaluate RELEASE DATA`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from job import dataset, strict_json
from job.dataset.names import first_names
from job.errors import DatasetError, ReleaseError, SettingsError
from job.plurals import format_count
from job.publish.inventory import INVENTORY, find_commonest_class, list_learnt_images
from job.release import Manifest, download_verified, open_release
from job.settings import Settings
from job.storage import Store
from job.telemetry import Progressed, Telemetry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from job.audit import Splits
    from job.evaluation import Report
    from job.publish.comparison import FloatArray

# What the report of a release says of the model, whatever images judge it.
RECORDED: Mapping[str, type] = {
    "name": str,
    "run_id": str,
    "backbone": str,
    "image_size": int,
    "weights": dict,
    "settings": dict,
    "versions": dict,
}
# Images that are classified between two reports of progress: a multiple of `serving.BATCH`.
CHUNK = 256
# An error names so many of the classes that the release knows.
NAMED_CLASSES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A release judged on other images.

    Attributes:
        release: its URI.
        scores: by name, as in the result of a run.
        images: how many judged it.
        classes: how many of its classes they show.
        known_classes: how many it tells apart.
        warnings: sentences about these images, the first one first.
    """

    release: str
    scores: Mapping[str, float]
    images: int
    classes: int
    known_classes: int
    warnings: tuple[str, ...]


def evaluate(
    uri: str, settings: Settings, folder: Path, telemetry: Telemetry, trust: bool = False
) -> Evaluation:
    """Judge a release on every image of a data set, and write report.json and report.html.

    Args:
        uri: of a release, or of a registry or its promoted.json, which mean the champion.
        settings: of them `dataset` and `cache` count.
        folder: receives the report.
        telemetry: receives the phases and their progress.
        trust: whether the model is run even if it may do more than compute.

    Raises:
        ReleaseError: there is no intact release behind `uri`, or it cannot be run here.
        DatasetError: the images cannot be read, or show a class that the release does not know.
        SettingsError: nothing can be written into the folder.
    """
    _make_folder(folder)
    with telemetry.phase("survey"):
        store, manifest = open_release(uri)
        listing = dataset.survey(settings.dataset)
        # An archive shows its classes only when it is opened.
        _require_known_classes({place.label for place in listing.places.values()}, manifest)
    with telemetry.phase("dataset"):
        data = dataset.fetch(listing, settings.dataset, settings.cache, telemetry)
        _require_known_classes({record.label for record in data.records}, manifest)

    # Imported here, because TensorFlow takes seconds: wrong addresses are refused before.
    from job import audit, evaluation

    with telemetry.phase("audit"):
        # Apart from the verdicts on the images of runs, which these would replace.
        verdicts = settings.cache.dir / "audit" / "evaluated"
        share = settings.dataset.broken_share
        census = audit.inspect(data, share, verdicts, telemetry, for_training=False)
        splits = audit.hold_out(census, manifest.classes)
    with telemetry.phase("evaluation"):
        release = ReleaseFiles(store, manifest, settings.cache.dir, trust)
        report, learnt = _judge_release(release, splits, telemetry)
        left_out = (*census.broken, *census.unsupported, *census.conflicting)
        context = evaluation.ReportContext(
            **release.read_report(),
            source=settings.dataset.uri,
            digest=data.digest,
            left_out=tuple((finding.name, finding.reason) for finding in left_out),
            contradictions=census.list_contradictions(),
            duplicates=tuple((finding.name, finding.reason) for finding in census.duplicates),
            warnings=(*learnt, *census.warnings),
            evaluated=store.uri,
            image_files={record.name: record.path for record in data.records},
        )
        evaluation.write(report, context, folder)
    return Evaluation(
        release=store.uri,
        scores=report.scores,
        images=len(splits.test),
        classes=len(census.classes),
        known_classes=len(manifest.classes),
        warnings=context.warnings,
    )


@dataclass(frozen=True, slots=True)
class ReleaseFiles:
    """The files of a release that judge it again, each verified and kept in a cache.

    `trust` says that its model is run even if it may do more than compute.
    """

    store: Store
    manifest: Manifest
    cache: Path
    trust: bool

    def find(self, part: str) -> Path:
        """The local copy of a file or folder of the release."""
        return download_verified(self.store, self.manifest, part, self.cache)

    def read_report(self) -> dict[str, Any]:
        """What the report of the release says of the model, as fields of a `ReportContext`.

        Raises:
            ReleaseError: it is of another form.
        """
        try:
            content = strict_json.parse(self.find("report.json").read_bytes())
            recorded = {}
            for name, expected_type in RECORDED.items():
                if not isinstance(content[name], expected_type):
                    raise TypeError(f"{name} is of another type")
                recorded[name] = content[name]
            # A gate is passed once, in the run.
            return recorded | {"gate": {**content["gate"], "min_score": 0.0}}
        except (ValueError, KeyError, TypeError) as error:
            raise ReleaseError(
                f"report.json of {self.store.uri} is not readable: {error!r}.",
                "Use a release of this version of Graft.",
            ) from error


def _make_folder(folder: Path) -> None:
    """Make the folder of the report, before the work that would be lost without it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"Cannot write into {folder}: {error.strerror}.", "Give another --output."
        ) from error


def _require_known_classes(labels: Collection[str], manifest: Manifest) -> None:
    """Refuse images of classes that the release cannot name."""
    unknown = sorted(set(labels) - set(manifest.classes))
    if unknown:
        known = ", ".join(first_names(list(map(repr, manifest.classes)), NAMED_CLASSES))
        raise DatasetError(
            f"Received images of {format_count(len(unknown), 'class', 'classes')} that the release "
            "does not know. "
            f"Expected its own classes: {known}.",
            "Name the folders or labels as the release does, leave these images out, or train a "
            "model that knows them: graft run.",
            first_names(list(map(repr, unknown)), NAMED_CLASSES),
        )


def _judge_release(
    release: ReleaseFiles, splits: "Splits", telemetry: Telemetry
) -> tuple["Report", Sequence[str]]:
    """The scores on the test images, and a warning if the release has learnt from some of them."""
    from job.evaluation import judge_probabilities
    from job.publish.serving import ServedModel

    folder = release.find("saved_model") / "1"
    model = ServedModel(folder, len(release.manifest.classes), release.trust)
    paths = [example.path for example in splits.test]
    parts = []
    for start in range(0, len(paths), CHUNK):
        parts.append(model.classify(paths[start : start + CHUNK]))
        done = min(start + CHUNK, len(paths))
        telemetry.emit(Progressed(done, len(paths), "images"))
    probabilities = np.concatenate(parts)

    inventory = release.find(INVENTORY).read_bytes()
    commonest = find_commonest_class(inventory, splits.classes)
    report = judge_probabilities(probabilities, splits, commonest)
    learnt = list_learnt_images(inventory)
    is_new = np.array([example.sha256 not in learnt for example in splits.test])
    return report, _describe_learnt(is_new, splits, probabilities)


def _describe_learnt(
    is_new: "NDArray[np.bool_]", splits: "Splits", probabilities: "FloatArray"
) -> Sequence[str]:
    """A warning, if the release has learnt from some of the images that judge it."""
    from job.evaluation import compute_scores

    if is_new.all():
        return ()
    new = int(is_new.sum())
    images = format_count(len(is_new), "image")
    warning = (
        f"The release has learnt from {len(is_new) - new} of these {images}, "
        "so the scores are too good."
    )
    if new:
        labels = np.array([example.label for example in splits.test])
        scores = compute_scores(labels[is_new], probabilities[is_new], splits.classes)
        warning += (
            f" On the other {new} its accuracy is {scores['accuracy']:.4f} "
            f"(95 %: {scores['accuracy_low']:.4f} to {scores['accuracy_high']:.4f})."
        )
    return (warning,)

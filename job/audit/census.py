"""Every image inspected once: what is kept, what is left out, and whether the rest is enough."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from job.audit.classes import find_class_problems, find_class_warnings
from job.audit.verdicts import judge_contents
from job.dataset import Dataset, Record
from job.dataset.names import first_names
from job.errors import DatasetError
from job.plurals import format_count
from job.telemetry import Telemetry

# An error lists so many findings and counts the others.
LISTED_FINDINGS = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about one image that its owner should know."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """What a data set holds.

    `broken`, `unsupported` and `contradictions` are left out. `duplicates` are among the kept.

    Attributes:
        kept: by (label, sha256, name).
        classes: sorted.
        contradictions: the images of each content that has several labels.
        duplicates: the second, third, … image of one content under one label.
        hashes: the 64-bit difference hash of each kept SHA-256.
        formats: of each kept SHA-256, as in `images.FORMATS`.
    """

    kept: tuple[Record, ...]
    classes: tuple[str, ...]
    broken: tuple[Finding, ...]
    unsupported: tuple[Finding, ...]
    contradictions: tuple[tuple[Record, ...], ...]
    duplicates: tuple[Finding, ...]
    warnings: tuple[str, ...]
    hashes: Mapping[str, int]
    formats: Mapping[str, str]

    @property
    def conflicting(self) -> tuple[Finding, ...]:
        """The images of all contradictions."""
        findings = []
        for alike in self.contradictions:
            places = ", ".join(f"{record.label!r} as {record.name}" for record in alike)
            reason = f"one content under several labels: {places}"
            findings += [Finding(record.name, reason) for record in alike]
        return tuple(findings)

    def list_contradictions(self) -> tuple[tuple[dict[str, str], ...], ...]:
        """For each content under several labels, the name and label of its images."""
        listed = []
        for alike in self.contradictions:
            images = tuple({"name": record.name, "label": record.label} for record in alike)
            listed.append(images)
        return tuple(listed)

    @property
    def left_out(self) -> int:
        return len(self.broken) + len(self.unsupported) + len(self.conflicting)

    @property
    def summary(self) -> str:
        """The findings on one line: `83 files: 77 used, 1 broken, 4 under two labels, 1 duplicate`.

        A duplicate is counted as that, and not as used.
        """
        duplicates = len(self.duplicates)
        counts = {
            "broken": len(self.broken),
            "unsupported": len(self.unsupported),
            "under two labels": len(self.conflicting),
            "duplicate" if duplicates == 1 else "duplicates": duplicates,
        }
        parts = [f"{len(self.kept) - duplicates:,} used"]
        parts += [f"{count:,} {what}" for what, count in counts.items() if count]
        files = format_count(len(self.kept) + self.left_out, "file")
        return f"{files}: {', '.join(parts)}"


def inspect(
    dataset: Dataset,
    broken_share: float,
    cache_dir: Path,
    telemetry: Telemetry,
    *,
    for_training: bool = True,
) -> Census:
    """Decode every image as the exported graph would, and judge what it finds.

    Args:
        dataset: the local files.
        broken_share: of all images, 0 to 1. With more broken ones than that nothing is trained.
        cache_dir: a folder where verdicts are remembered by content.
        telemetry: receives how many images were inspected.
        for_training: whether a model is to learn from them. Images that only judge one need not be
            enough for that.

    Raises:
        DatasetError: too many broken, none usable, or, for training, fewer than 2 classes or a
            class of fewer than 3 distinct images: all problems at once.
    """
    records = sorted(dataset.records, key=lambda record: (record.label, record.sha256, record.name))
    verdicts = judge_contents(records, cache_dir, telemetry)

    labels = set()
    broken = []
    unsupported = []
    by_content = defaultdict(list)
    for record in records:
        # A class counts even if none of its images is usable: that must be reported, not hidden.
        labels.add(record.label)
        verdict = verdicts[record.sha256]
        finding = Finding(record.name, verdict.reason)
        match verdict.kind:
            case "decodes":
                by_content[record.sha256].append(record)
            case "broken":
                broken.append(finding)
            case "unsupported":
                unsupported.append(finding)

    kept: list[Record] = []
    contradictions = []
    duplicates = []
    hashes = {}
    formats = {}
    for sha256, alike in by_content.items():
        first, *others = alike
        if any(other.label != first.label for other in others):
            # Nobody can say which label is right, so none of these images is used.
            contradictions.append(tuple(alike))
            continue

        # Images of one label and content are neighbours in `records`, so `kept` is sorted too.
        kept.extend(alike)
        hashes[sha256] = verdicts[sha256].hash
        formats[sha256] = verdicts[sha256].format
        reason = f"the same content as {first.name}"
        for other in others:
            duplicates.append(Finding(other.name, reason))

    classes = tuple(sorted(labels))
    census = Census(
        kept=tuple(kept),
        classes=classes,
        broken=tuple(broken),
        unsupported=tuple(unsupported),
        contradictions=tuple(contradictions),
        duplicates=tuple(duplicates),
        warnings=(*dataset.notes, *find_class_warnings(classes, kept)),
        hashes=hashes,
        formats=formats,
    )
    _require_usable(census, len(records), broken_share, for_training=for_training)
    return census


def _require_usable(
    census: Census, num_images: int, broken_share: float, *, for_training: bool
) -> None:
    """Raise every problem of the data set at once."""
    problems: list[str] = []
    if for_training:
        use = "learnt from"
        expected = "at least 2 classes of at least 3 distinct images each, few of them broken"
        problems += find_class_problems(census.classes, census.kept)
    else:
        use = "judged on"
        expected = "at least 1 image that decodes, few of them broken"
        if not census.kept:
            problems.append("no image is usable")
    num_broken = len(census.broken)
    if num_broken > broken_share * num_images:
        found_share = num_broken / num_images
        problems.append(
            f"broken: {num_broken} of {format_count(num_images, 'image')} ({found_share:.1%}); "
            f"at most {broken_share:.1%} may be"
        )
    if not problems:
        return

    # What was left out may be why a class is too small, so it belongs to the message.
    left_out = (*census.broken, *census.unsupported, *census.conflicting)
    findings = list(map(str, left_out))
    problems += first_names(findings, LISTED_FINDINGS)
    raise DatasetError(
        f"Received: a data set of {format_count(num_images, 'image')} that cannot be {use}. "
        f"Expected: {expected}.",
        cure="Repair, replace or remove what is named here. "
        "GRAFT_DATASET_BROKEN_SHARE says how many may be broken.",
        problems=tuple(problems),
    )

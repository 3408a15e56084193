"""Every image inspected once: what is kept, what is left out, and whether the rest is enough."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from job.audit.classes import find_class_problems, find_class_warnings
from job.audit.verdicts import Verdict, judge_contents
from job.dataset import Dataset, Record
from job.dataset.names import first_names
from job.errors import DatasetError
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

    `broken`, `unsupported` and `conflicting` are left out. `duplicates` are among the kept.

    Attributes:
        kept: by (label, sha256, name).
        classes: sorted.
        conflicting: images with one content under two labels.
        duplicates: the second, third, … image of one content under one label.
        hashes: the 64-bit difference hash of each kept SHA-256.
    """

    kept: tuple[Record, ...]
    classes: tuple[str, ...]
    broken: tuple[Finding, ...]
    unsupported: tuple[Finding, ...]
    conflicting: tuple[Finding, ...]
    duplicates: tuple[Finding, ...]
    warnings: tuple[str, ...]
    hashes: Mapping[str, int]

    @property
    def left_out(self) -> int:
        return len(self.broken) + len(self.unsupported) + len(self.conflicting)


def inspect(dataset: Dataset, broken_share: float, cache_dir: Path, telemetry: Telemetry) -> Census:
    """Decode every image as the exported graph would, and judge what it finds.

    Args:
        dataset: the local files.
        broken_share: of all images, 0 to 1. With more broken ones than that nothing is trained.
        cache_dir: a folder where verdicts are remembered by content.
        telemetry: receives how many images were inspected.

    Raises:
        DatasetError: too many broken, fewer than 2 classes, a class of fewer than 3 distinct
            images: all problems at once.
    """
    records = sorted(dataset.records, key=lambda record: (record.label, record.sha256, record.name))
    verdicts = judge_contents(records, cache_dir, telemetry)

    decoding = [record for record in records if verdicts[record.sha256].kind == "decodes"]
    conflicts = _find_conflicts(decoding)
    kept = tuple(record for record in decoding if record.sha256 not in conflicts)
    conflicting: list[Finding] = []
    for findings in conflicts.values():
        conflicting += findings

    classes = tuple(sorted({record.label for record in records}))
    census = Census(
        kept=kept,
        classes=classes,
        broken=_select_findings(records, verdicts, "broken"),
        unsupported=_select_findings(records, verdicts, "unsupported"),
        conflicting=tuple(conflicting),
        duplicates=_find_duplicates(kept),
        warnings=find_class_warnings(classes, kept),
        hashes={record.sha256: verdicts[record.sha256].hash for record in kept},
    )
    _require_usable(census, len(records), broken_share)
    return census


def _select_findings(
    records: Iterable[Record], verdicts: Mapping[str, Verdict], kind: str
) -> tuple[Finding, ...]:
    findings = []
    for record in records:
        verdict = verdicts[record.sha256]
        if verdict.kind == kind:
            findings.append(Finding(record.name, verdict.reason))
    return tuple(findings)


def _group_by_content(records: Iterable[Record]) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[record.sha256].append(record)
    return groups


def _find_conflicts(records: Iterable[Record]) -> dict[str, list[Finding]]:
    """For each content under more than one label: a finding for each of its images."""
    conflicts = {}
    for sha256, alike in _group_by_content(records).items():
        if len({record.label for record in alike}) > 1:
            places = ", ".join(f"{record.label!r} as {record.name}" for record in alike)
            reason = f"one content under several labels: {places}"
            conflicts[sha256] = [Finding(record.name, reason) for record in alike]
    return conflicts


def _find_duplicates(kept: Iterable[Record]) -> tuple[Finding, ...]:
    duplicates: list[Finding] = []
    for first, *others in _group_by_content(kept).values():
        reason = f"the same content as {first.name}"
        duplicates += [Finding(other.name, reason) for other in others]
    return tuple(duplicates)


def _require_usable(census: Census, num_images: int, broken_share: float) -> None:
    """Raise every problem of the data set at once."""
    problems = list(find_class_problems(census.classes, census.kept))
    num_broken = len(census.broken)
    if num_broken > broken_share * num_images:
        problems.append(
            f"{num_broken} of {num_images} images ({num_broken / num_images:.1%}) are broken; "
            f"at most {broken_share:.1%} may be"
        )
    if not problems:
        return

    left_out = (*census.broken, *census.unsupported, *census.conflicting)
    problems += first_names([str(finding) for finding in left_out], LISTED_FINDINGS)
    raise DatasetError(
        f"Received: a data set of {num_images} images that cannot be learnt from. "
        "Expected: at least 2 classes of at least 3 distinct images each, few of them broken.",
        cure="Repair, replace or remove what is named here. "
        "GRAFT_DATASET_BROKEN_SHARE says how many may be broken.",
        problems=tuple(problems),
    )

"""Every image looked at once: what is kept, what is left out and why, and whether the rest can be learnt from."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from job.audit.classes import class_problems, class_warnings
from job.audit.verdicts import Verdict, verdicts
from job.dataset.names import first_names
from job.errors import DatasetError

if TYPE_CHECKING:
    from job.dataset import Dataset, Record
    from job.telemetry import Telemetry

_NAMED = 20  # so many findings are told in an error; the rest are counted


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about one image that its owner should know."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Census:
    """What a data set holds.

    `broken`, `unsupported` and `conflicting` are left out; `duplicates` are among the kept.
    """

    kept: tuple["Record", ...]  # by (label, sha256, name)
    classes: tuple[str, ...]  # sorted
    broken: tuple[Finding, ...]
    unsupported: tuple[Finding, ...]
    conflicting: tuple[Finding, ...]  # one content under two labels
    duplicates: tuple[Finding, ...]  # the second, third, … of one content under one label
    warnings: tuple[str, ...]
    hashes: Mapping[str, int]  # of each kept SHA-256: the 64-bit difference hash

    @property
    def left_out(self) -> int:
        return len(self.broken) + len(self.unsupported) + len(self.conflicting)


def inspect(
    dataset: "Dataset", broken_share: float, cache_dir: Path, telemetry: "Telemetry"
) -> Census:
    """Decodes every image as the exported graph would, and judges what it finds.

    Args:
        dataset: the local files.
        broken_share: of all images, 0 to 1; with more broken ones than that nothing is trained.
        cache_dir: a folder where verdicts are remembered by content.
        telemetry: told how many images were looked at.

    Raises:
        DatasetError: too many broken, fewer than 2 classes, a class of fewer than 3 distinct
        images; all at once.
    """
    records = sorted(dataset.records, key=lambda record: (record.label, record.sha256, record.name))
    known = verdicts(records, cache_dir, telemetry)
    decoding = [record for record in records if known[record.sha256].kind == "decodes"]
    conflicts = _conflicts(decoding)
    kept = tuple(record for record in decoding if record.sha256 not in conflicts)
    classes = tuple(sorted({record.label for record in records}))
    census = Census(
        kept=kept,
        classes=classes,
        broken=_findings(records, known, "broken"),
        unsupported=_findings(records, known, "unsupported"),
        conflicting=tuple(finding for findings in conflicts.values() for finding in findings),
        duplicates=_duplicates(kept),
        warnings=class_warnings(classes, kept),
        hashes={record.sha256: known[record.sha256].hash for record in kept},
    )
    _require_usable(census, len(records), broken_share)
    return census


def _findings(
    records: Iterable["Record"], known: Mapping[str, Verdict], kind: str
) -> tuple[Finding, ...]:
    judged = ((record.name, known[record.sha256]) for record in records)
    return tuple(Finding(name, verdict.reason) for name, verdict in judged if verdict.kind == kind)


def _by_content(records: Iterable["Record"]) -> dict[str, list["Record"]]:
    contents: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        contents[record.sha256].append(record)
    return contents


def _conflicts(records: Iterable["Record"]) -> dict[str, list[Finding]]:
    """For each content under more than one label: a finding for each of its images."""
    conflicts = {}
    for sha256, alike in _by_content(records).items():
        if len({record.label for record in alike}) > 1:
            places = ", ".join(f"{record.label!r} as {record.name}" for record in alike)
            reason = f"one content under several labels: {places}"
            conflicts[sha256] = [Finding(record.name, reason) for record in alike]
    return conflicts


def _duplicates(kept: Iterable["Record"]) -> tuple[Finding, ...]:
    groups = _by_content(kept).values()
    return tuple(
        Finding(again.name, f"the same content as {first.name}")
        for first, *rest in groups
        for again in rest
    )


def _require_usable(census: Census, num_images: int, broken_share: float) -> None:
    """Raises every problem of the data set at once."""
    problems = list(class_problems(census.classes, census.kept))
    if len(census.broken) > broken_share * num_images:
        share = f"{len(census.broken)} of {num_images} images ({len(census.broken) / num_images:.1%}) are broken"
        problems.append(f"{share}; at most {broken_share:.1%} may be")
    if not problems:
        return
    left_out = (*census.broken, *census.unsupported, *census.conflicting)
    raise DatasetError(
        f"Received: a data set of {num_images} images that cannot be learnt from. "
        "Expected: at least 2 classes of at least 3 distinct images each, few of them broken.",
        cure="Mend, replace or remove what is named here; GRAFT_DATASET_BROKEN_SHARE says how many may be broken.",
        problems=(*problems, *first_names([str(finding) for finding in left_out], _NAMED)),
    )

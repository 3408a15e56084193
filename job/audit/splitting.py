"""The split: a function of the images themselves, so that new images join without moving old ones."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from job.audit.census import Census, Finding
from job.audit.dealing import PARTS, deal
from job.audit.similarity import NearDuplicate, near_duplicates
from job.audit.units import units_of
from job.errors import DatasetError
from job.settings import SplitName

if TYPE_CHECKING:
    from job.dataset import Record

_SHARES: Mapping[tuple[SplitName, ...], Mapping[SplitName, float]] = {
    ("val", "test"): {"test": 0.15, "val": 0.30},  # test: u < 0.15; val: of the rest u < 0.30
    ("val",): {"val": 0.15},
    ("test",): {"test": 0.15},
    (): {},
}
"""By the missing parts of a split: below which u an image goes where. Nothing was given: both are missing."""


@dataclass(frozen=True, slots=True)
class Example:
    """One image that takes part."""

    path: Path
    name: str
    label: int  # an index into the classes
    sha256: str
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Splits:
    """Who trains, validates and tests; each part by (label, sha256, name)."""

    classes: tuple[str, ...]
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]
    near_duplicates: tuple[NearDuplicate, ...]  # across parts; reported, not moved
    leaks: tuple[
        Finding, ...
    ]  # of a given split: one content in two parts; left out of the earlier
    given: bool  # by the folders or the manifest
    warnings: tuple[str, ...] = ()

    def ordered(self, classes: tuple[str, ...]) -> "Splits":
        """The same images, with the labels of another order of the classes."""
        places = [classes.index(name) for name in self.classes]

        def relabelled(part: tuple[Example, ...]) -> tuple[Example, ...]:
            return tuple(replace(example, label=places[example.label]) for example in part)

        train, val, test = relabelled(self.train), relabelled(self.val), relabelled(self.test)
        return replace(self, classes=classes, train=train, val=val, test=test)


def split(census: Census) -> Splits:
    """Deals the kept images out to train, val and test.

    A given split is respected: an image without one in it counts as train, and a part that is
    missing altogether is carved from train by the same rule. If only one is missing, the images of
    train with u < 0.15 become that part.

    Raises:
        DatasetError: a class without an image to train on, or groups that cannot be dealt out.
    """
    given = any(record.split for record in census.kept)
    kept, leaks = _without_leaks(census.kept)
    parts = _carve(kept)
    gaps = _gaps(census.classes, parts)
    _require_parts([(label, part) for label, part in gaps if part == "train" or not given])
    examples = {part: tuple(_examples(parts[part], census.classes)) for part in PARTS}
    return Splits(
        classes=census.classes,
        train=examples["train"],
        val=examples["val"],
        test=examples["test"],
        near_duplicates=near_duplicates(examples, census.hashes),
        leaks=leaks,
        given=given,
        warnings=(
            *(f"class {label!r} has no image in {part}" for label, part in gaps),
            *_straddling(parts),
        ),
    )


def _declared(record: "Record") -> SplitName:
    return record.split or "train"


def _without_leaks(records: Sequence["Record"]) -> tuple[list["Record"], tuple[Finding, ...]]:
    """A content in several parts of a given split stays in the latest only, so that the test score stays honest."""
    by_part = sorted(records, key=lambda record: PARTS.index(_declared(record)))
    latest = {record.sha256: record for record in by_part}
    kept, leaks = [], []
    for record in records:
        part, other = _declared(record), latest[record.sha256]
        if part == _declared(other):
            kept.append(record)
        else:
            reason = f"left out of {part}: the same content as {other.name} in {_declared(other)}"
            leaks.append(Finding(record.name, reason))
    return kept, tuple(leaks)


def _carve(records: Sequence["Record"]) -> dict[SplitName, list["Record"]]:
    """Fills what is missing of val and test from train: both, if nothing was given."""
    present = {_declared(record) for record in records}
    shares = _SHARES[tuple(part for part in PARTS if part not in present)]
    dealt = deal(units_of(record for record in records if _declared(record) == "train"), shares)
    parts: dict[SplitName, list[Record]] = {part: [] for part in PARTS}
    for record in records:
        parts[dealt.get(record.sha256, _declared(record))].append(record)
    return parts


def _gaps(
    classes: Sequence[str], parts: Mapping[SplitName, Sequence["Record"]]
) -> list[tuple[str, SplitName]]:
    labels = {part: {record.label for record in parts[part]} for part in PARTS}
    return [(label, part) for label in classes for part in PARTS if label not in labels[part]]


def _require_parts(gaps: Sequence[tuple[str, SplitName]]) -> None:
    if gaps:
        raise DatasetError(
            "Received: images that leave a class without a part of the split. Expected: each class in each of them.",
            cure="Add images of these classes, in groups of their own, or say in the manifest which image goes where.",
            problems=tuple(f"class {label!r} has no image for {part}" for label, part in gaps),
        )


def _straddling(parts: Mapping[SplitName, Sequence["Record"]]) -> Iterator[str]:
    """Only a given split can do that."""
    places = {(record.group, part) for part in PARTS for record in parts[part] if record.group}
    astray = sorted(
        group for group, count in Counter(group for group, _ in places).items() if count > 1
    )
    if astray:
        yield f"the given split tears {len(astray)} group(s) apart, {astray[0]!r} for one"


def _examples(records: Iterable["Record"], classes: Sequence[str]) -> Iterator[Example]:
    labels = {name: label for label, name in enumerate(classes)}
    for record in sorted(
        records, key=lambda record: (labels[record.label], record.sha256, record.name)
    ):
        yield Example(record.path, record.name, labels[record.label], record.sha256, record.group)

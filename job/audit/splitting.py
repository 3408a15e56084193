"""The split: a function of the images themselves, so that new images do not move old ones."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from job.audit.census import Census, Finding
from job.audit.dealing import PARTS, deal
from job.audit.examples import Example
from job.audit.similarity import NearDuplicate, find_near_duplicates
from job.audit.units import form_units
from job.dataset import Record
from job.errors import DatasetError
from job.settings import SplitName

# By the missing parts of a split: below which u an image goes where. If no split was given, both
# are missing. Then test takes u < 0.15, and val takes u < 0.30 of the rest.
SHARES: Mapping[tuple[SplitName, ...], Mapping[SplitName, float]] = {
    ("val", "test"): {"test": 0.15, "val": 0.30},
    ("val",): {"val": 0.15},
    ("test",): {"test": 0.15},
    (): {},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """The images that train, validate and test, each part by (label, sha256, name).

    Attributes:
        near_duplicates: across parts. They are reported, not moved.
        leaks: of a given split: a content in two parts, left out of the earlier.
        given: whether the folders or the manifest gave the split.
    """

    classes: tuple[str, ...]
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]
    near_duplicates: tuple[NearDuplicate, ...]
    leaks: tuple[Finding, ...]
    given: bool
    warnings: tuple[str, ...] = ()

    def reorder_classes(self, classes: tuple[str, ...]) -> "Splits":
        """The same images, with the labels of another order of the classes."""
        labels = [classes.index(name) for name in self.classes]

        def relabel(part: tuple[Example, ...]) -> tuple[Example, ...]:
            return tuple(replace(example, label=labels[example.label]) for example in part)

        return replace(
            self,
            classes=classes,
            train=relabel(self.train),
            val=relabel(self.val),
            test=relabel(self.test),
        )


def split(census: Census) -> Splits:
    """Deal the kept images out to train, val and test.

    A given split is respected. An image without one in it counts as train, and a part that is
    missing altogether is carved from train by the same rule. If only one is missing, the images of
    train with u < 0.15 become that part.

    Raises:
        DatasetError: a class without an image to train on, or groups that cannot be dealt out.
    """
    given = any(record.split for record in census.kept)
    kept, leaks = _drop_leaks(census.kept)
    parts = _carve_missing_parts(kept)

    gaps = _find_gaps(census.classes, parts)
    # Only a given split may lack a class in val or test.
    faults = [(label, part) for label, part in gaps if part == "train" or not given]
    if faults:
        raise DatasetError(
            "Received: images that leave a class without a part of the split. "
            "Expected: each class in each of them.",
            cure="Add images of these classes, in groups of their own, or say in the manifest "
            "which image goes where.",
            problems=tuple(f"class {label!r} has no image for {part}" for label, part in faults),
        )
    warnings = [f"class {label!r} has no image in {part}" for label, part in gaps]
    warnings += _find_separated_groups(parts)

    examples = {part: tuple(_make_examples(parts[part], census.classes)) for part in PARTS}
    return Splits(
        classes=census.classes,
        train=examples["train"],
        val=examples["val"],
        test=examples["test"],
        near_duplicates=find_near_duplicates(examples, census.hashes),
        leaks=leaks,
        given=given,
        warnings=tuple(warnings),
    )


def _declared_part(record: Record) -> SplitName:
    return record.split or "train"


def _drop_leaks(records: Sequence[Record]) -> tuple[list[Record], tuple[Finding, ...]]:
    """The records without a content twice: it stays in the latest part of a given split only.

    So the test score stays honest.
    """
    by_part = sorted(records, key=lambda record: PARTS.index(_declared_part(record)))
    latest = {record.sha256: record for record in by_part}
    kept, leaks = [], []
    for record in records:
        part = _declared_part(record)
        other = latest[record.sha256]
        other_part = _declared_part(other)
        if part == other_part:
            kept.append(record)
        else:
            reason = f"left out of {part}: the same content as {other.name} in {other_part}"
            leaks.append(Finding(record.name, reason))
    return kept, tuple(leaks)


def _carve_missing_parts(records: Sequence[Record]) -> dict[SplitName, list[Record]]:
    """The records by part. What is missing of val and test comes from train."""
    present = {_declared_part(record) for record in records}
    missing = tuple(part for part in PARTS if part not in present)
    declared_train = [record for record in records if _declared_part(record) == "train"]
    dealt = deal(form_units(declared_train), SHARES[missing])

    parts: dict[SplitName, list[Record]] = {part: [] for part in PARTS}
    for record in records:
        parts[dealt.get(record.sha256, _declared_part(record))].append(record)
    return parts


def _find_gaps(
    classes: Sequence[str], parts: Mapping[SplitName, Sequence[Record]]
) -> list[tuple[str, SplitName]]:
    """Each class and part without an image."""
    labels = {part: {record.label for record in parts[part]} for part in PARTS}
    return [(label, part) for label in classes for part in PARTS if label not in labels[part]]


def _find_separated_groups(parts: Mapping[SplitName, Sequence[Record]]) -> Iterator[str]:
    """A warning about groups in two parts, which only a given split can have."""
    places = set()
    for part in PARTS:
        for record in parts[part]:
            if record.group:
                places.add((record.group, part))
    counts = Counter(group for group, _ in places)
    separated = sorted(group for group, count in counts.items() if count > 1)
    if separated:
        yield f"the given split tears {len(separated)} group(s) apart, {separated[0]!r} for one"


def _make_examples(records: Iterable[Record], classes: Sequence[str]) -> Iterator[Example]:
    """The examples by (label, sha256, name)."""
    labels = {name: label for label, name in enumerate(classes)}
    ordered = sorted(records, key=lambda record: (labels[record.label], record.sha256, record.name))
    for record in ordered:
        yield Example(
            path=record.path,
            name=record.name,
            label=labels[record.label],
            sha256=record.sha256,
            group=record.group,
        )

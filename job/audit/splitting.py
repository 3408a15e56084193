"""The split: a function of the images themselves, so that new images do not move old ones."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from job.audit.census import Census, Finding
from job.audit.dealing import PARTS, deal
from job.audit.examples import Example
from job.audit.similarity import NearDuplicate, find_near_duplicates
from job.audit.units import form_units
from job.dataset import Record
from job.errors import DatasetError
from job.plurals import format_count
from job.settings import SplitName

Parts = dict[SplitName, list[Record]]

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
        # By the old label: the new one.
        labels = list(map(classes.index, self.classes))

        def relabel(part: tuple[Example, ...]) -> tuple[Example, ...]:
            relabelled = []
            for example in part:
                new_label = labels[example.label]
                relabelled.append(replace(example, label=new_label))
            return tuple(relabelled)

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
    parts, leaks = _drop_leaks(census.kept)
    # An empty train is not carved from anything: it is found below, as a fault of every class.
    missing = tuple(part for part in PARTS if part != "train" and not parts[part])
    declared_train = parts["train"]
    dealt = deal(form_units(declared_train), SHARES[missing])
    parts["train"] = []
    for record in declared_train:
        part = dealt[record.sha256]
        parts[part].append(record)

    faults, warnings = _find_gaps(parts, census.classes, given)
    if faults:
        raise DatasetError(
            "Received: images that leave a class without a part of the split. "
            "Expected: each class in each of them.",
            cure="Add images of these classes, in groups of their own, or say in the manifest "
            "which image goes where.",
            problems=tuple(faults),
        )

    examples = _make_examples(parts, census.classes, census.formats)
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


def hold_out(census: Census, classes: tuple[str, ...]) -> Splits:
    """Every kept image is a test image of a model that knows these classes.

    Args:
        census: of images whose classes are all among `classes`.
        classes: of the model, in the order of its outputs.
    """
    parts: Parts = {"train": [], "val": [], "test": list(census.kept)}
    examples = _make_examples(parts, classes, census.formats)
    return Splits(
        classes=classes,
        train=(),
        val=(),
        test=examples["test"],
        near_duplicates=(),
        leaks=(),
        given=False,
    )


def _declared_part(record: Record) -> SplitName:
    return record.split or "train"


def _drop_leaks(records: Sequence[Record]) -> tuple[Parts, tuple[Finding, ...]]:
    """The declared parts without a content twice: it stays in the latest part only.

    So the test score stays honest. Without a given split everything is in train.
    """
    by_part = sorted(records, key=lambda record: PARTS.index(_declared_part(record)))
    # A later part overwrites an earlier one.
    latest = {record.sha256: record for record in by_part}

    parts: Parts = {part: [] for part in PARTS}
    leaks = []
    for record in records:
        part = _declared_part(record)
        other = latest[record.sha256]
        other_part = _declared_part(other)
        if part == other_part:
            parts[part].append(record)
        else:
            reason = f"left out of {part}: the same content as {other.name} in {other_part}"
            leaks.append(Finding(record.name, reason))
    return parts, tuple(leaks)


def _find_gaps(parts: Parts, classes: Sequence[str], given: bool) -> tuple[list[str], list[str]]:
    """(faults, warnings): classes that lack a part, and groups that a given split tears apart."""
    labels = defaultdict(set)
    places = defaultdict(set)
    for part in PARTS:
        for record in parts[part]:
            labels[part].add(record.label)
            if record.group:
                places[record.group].add(part)

    faults = []
    warnings = []
    for label in classes:
        for part in PARTS:
            if label in labels[part]:
                continue
            # Only a given split may lack a class in val or test.
            if part == "train" or not given:
                faults.append(f"class {label!r} has no image for {part}")
            else:
                warnings.append(f"class {label!r} has no image in {part}")

    separated = sorted(group for group, found in places.items() if len(found) > 1)
    if separated:
        first = separated[0]
        groups = format_count(len(separated), "group")
        warnings.append(f"the given split tears {groups} apart, {first!r} for one")
    return faults, warnings


def _make_examples(
    parts: Parts, classes: Sequence[str], formats: Mapping[str, str]
) -> dict[SplitName, tuple[Example, ...]]:
    """The examples of each part by (label, sha256, name)."""
    labels = {name: label for label, name in enumerate(classes)}
    examples = {}
    for part in PARTS:
        of_part = []
        for record in parts[part]:
            example = Example(
                path=record.path,
                name=record.name,
                label=labels[record.label],
                sha256=record.sha256,
                format=formats[record.sha256],
                group=record.group,
            )
            of_part.append(example)
        of_part.sort(key=lambda example: (example.label, example.sha256, example.name))
        examples[part] = tuple(of_part)
    return examples

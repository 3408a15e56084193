"""Are there enough classes, and enough images in each?"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from job.audit.units import units_of

if TYPE_CHECKING:
    from job.dataset import Record

FEWEST_IMAGES = 3  # one each to train, validate and test
_FEW_IMAGES = 10
_LARGE_RATIO = 10


def class_problems(classes: Sequence[str], kept: Sequence["Record"]) -> Iterator[str]:
    """What makes training pointless, a sentence each."""
    if len(classes) < 2:
        yield f"the classes are: {', '.join(map(repr, classes)) or 'none'}; a classifier needs at least 2"
    counts = _distinct_images(classes, kept)
    for label in classes:
        if counts[label] < FEWEST_IMAGES:
            yield f"class {label!r} has {counts[label]} distinct usable image(s); at least {FEWEST_IMAGES} are needed"
    yield from _group_problems(counts, kept)


def _group_problems(counts: dict[str, int], kept: Sequence["Record"]) -> Iterator[str]:
    """Groups never straddle splits, so there must be enough of them, unless the split is given."""
    if any(record.split in ("val", "test") for record in kept):
        return
    num_units = Counter(label for unit in units_of(kept) for label in unit.labels)
    for label, count in counts.items():
        if num_units[label] < FEWEST_IMAGES <= count:
            yield f"class {label!r} has {num_units[label]} group(s); at least {FEWEST_IMAGES} are needed to split it"


def class_warnings(classes: Sequence[str], kept: Sequence["Record"]) -> tuple[str, ...]:
    """What makes the result doubtful, a sentence each."""
    counts = _distinct_images(classes, kept)
    few = [label for label in classes if counts[label] < _FEW_IMAGES]
    warnings = [f"class {label!r} has only {counts[label]} distinct images" for label in few]
    largest, smallest = (
        max(counts, key=counts.__getitem__, default=""),
        min(counts, key=counts.__getitem__, default=""),
    )
    if classes and counts[largest] > _LARGE_RATIO * counts[smallest]:
        most, least = (
            f"{largest!r} has {counts[largest]} images",
            f"{smallest!r} has {counts[smallest]}",
        )
        warnings.append(f"the classes are unbalanced: {most}, {least}")
    return tuple(warnings)


def _distinct_images(classes: Sequence[str], kept: Sequence["Record"]) -> dict[str, int]:
    counts = Counter(label for label, _ in {(record.label, record.sha256) for record in kept})
    return {label: counts[label] for label in classes}

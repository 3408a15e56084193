"""Are there enough classes, and enough images in each?"""

from collections import Counter
from collections.abc import Iterator, Sequence

from job.audit.units import form_units
from job.dataset import Record

# One each to train, validate and test.
FEWEST_IMAGES = 3

# Below or above these, the result is doubtful but not impossible.
FEW_IMAGES = 10
LARGE_RATIO = 10


def find_class_problems(classes: Sequence[str], kept: Sequence[Record]) -> Iterator[str]:
    """What makes training pointless, one sentence each."""
    if len(classes) < 2:
        names = ", ".join(map(repr, classes)) or "none"
        yield f"the classes are: {names}; a classifier needs at least 2"

    counts = _count_distinct_images(classes, kept)
    for label, count in counts.items():
        if count < FEWEST_IMAGES:
            yield (
                f"class {label!r} has {count} distinct usable image(s); "
                f"at least {FEWEST_IMAGES} are needed"
            )

    # Groups never straddle splits, so there must be enough of them, unless the split is given.
    if any(record.split in ("val", "test") for record in kept):
        return
    num_units = Counter(label for unit in form_units(kept) for label in unit.labels)
    for label, count in counts.items():
        if num_units[label] < FEWEST_IMAGES <= count:
            yield (
                f"class {label!r} has {num_units[label]} group(s); "
                f"at least {FEWEST_IMAGES} are needed to split it"
            )


def find_class_warnings(classes: Sequence[str], kept: Sequence[Record]) -> tuple[str, ...]:
    """What makes the result doubtful, one sentence each."""
    counts = _count_distinct_images(classes, kept)
    warnings = []
    for label, count in counts.items():
        if count < FEW_IMAGES:
            warnings.append(f"class {label!r} has only {count} distinct images")

    if counts:
        largest = max(counts, key=counts.__getitem__)
        smallest = min(counts, key=counts.__getitem__)
        if counts[largest] > LARGE_RATIO * counts[smallest]:
            warnings.append(
                f"the classes are unbalanced: {largest!r} has {counts[largest]} images, "
                f"{smallest!r} has {counts[smallest]}"
            )
    return tuple(warnings)


def _count_distinct_images(classes: Sequence[str], kept: Sequence[Record]) -> dict[str, int]:
    contents = {(record.label, record.sha256) for record in kept}
    counts = Counter(label for label, _ in contents)
    return {label: counts[label] for label in classes}

"""Are there enough classes, and enough images in each?"""

from collections import Counter
from collections.abc import Iterator, Sequence

from job.audit.units import form_units
from job.dataset import Record
from job.plurals import format_count

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
                f"class {label!r} has {format_count(count, 'distinct usable image')}; "
                f"at least {FEWEST_IMAGES} are needed"
            )

    # Groups never straddle splits, so there must be enough of them, unless the split is given.
    given = {record.split for record in kept}
    if "val" in given or "test" in given:
        return
    num_units: Counter[str] = Counter()
    for unit in form_units(kept):
        num_units.update(unit.labels)
    for label, count in counts.items():
        num_groups = num_units[label]
        # A class of too few images was reported above.
        if num_groups < FEWEST_IMAGES <= count:
            yield (
                f"class {label!r} has {format_count(num_groups, 'group')}; "
                f"at least {FEWEST_IMAGES} are needed to split it"
            )


def find_class_warnings(classes: Sequence[str], kept: Sequence[Record]) -> tuple[str, ...]:
    """What makes the result doubtful, one sentence each."""
    counts = _count_distinct_images(classes, kept)
    warnings = []
    for label, count in counts.items():
        if count < FEW_IMAGES:
            warnings.append(f"class {label!r} has only {format_count(count, 'distinct image')}")

    if counts:
        largest = max(counts, key=counts.__getitem__)
        smallest = min(counts, key=counts.__getitem__)
        most, fewest = counts[largest], counts[smallest]
        if most > LARGE_RATIO * fewest:
            warnings.append(
                f"the classes are unbalanced: {largest!r} has {format_count(most, 'image')}, "
                f"{smallest!r} has {fewest}"
            )
    return tuple(warnings)


def _count_distinct_images(classes: Sequence[str], kept: Sequence[Record]) -> dict[str, int]:
    # Copies of one content teach nothing new, so they count once.
    contents = set()
    for record in kept:
        contents.add((record.label, record.sha256))

    # From the classes, not from the images: a class without any has a count of 0.
    counts = dict.fromkeys(classes, 0)
    for label, _ in contents:
        counts[label] += 1
    return counts

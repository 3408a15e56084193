"""From units to parts: thresholds on their places, then repairs so that no class lacks a part."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from job.audit.units import Unit
from job.settings import SplitName

# The units of each class, by place.
UnitsByLabel = Mapping[str, Sequence[Unit]]

# For each part a place from 0 to 1.
Thresholds = Mapping[SplitName, float]

# In the order in which an image may be held out ever more strictly.
PARTS: tuple[SplitName, ...] = ("train", "val", "test")

# The part of all units that no threshold claims.
REST: SplitName = "train"

# Classes that lack a part are tiny, so a short search finds a deal if there is one.
LONGEST_CHAIN = 6
CHOICES = 8


def deal(units: Sequence[Unit], shares: Thresholds) -> dict[str, SplitName]:
    """Deal whole units out to the parts of a split.

    In each class, by place: the first part takes the units below its share, or the lowest unit if
    there is none. The next part does the same with what is left, and the rest trains. A part leaves
    at least one unit for each part after it, so that an empty train takes the highest back. Where
    units hold several classes, the repair of one class may rob another. What is still missing then
    is taken from where it does no such harm, if there is such a unit.

    Args:
        units: by place.
        shares: for each part to fill but the rest, in order: below which place.

    Returns:
        For each content (SHA-256) its part. A class of too few units may lack a part.
    """
    grouped = defaultdict(list)
    parts = {}
    for unit in units:
        claims = [part for part, below in shares.items() if unit.place < below]
        # The first part that claims a unit gets it.
        parts[unit.key] = claims[0] if claims else REST
        for label in unit.labels:
            grouped[label].append(unit)
    # Sorted, so that the repairs depend on the names of the classes and not on a set's order.
    by_label = dict(sorted(grouped.items()))

    # The first class that wants a unit elsewhere decides.
    repairs: dict[str, SplitName] = {}
    for members in by_label.values():
        divided = _divide_class(members, shares)
        for unit, part in zip(members, divided, strict=True):
            if part != parts[unit.key]:
                repairs.setdefault(unit.key, part)
    parts |= repairs

    targets = {**shares, REST: 1.0}
    # Each move fills a gap and makes none, so this ends.
    while _fill_first_gap(by_label, parts, targets):
        pass

    # The fewest moves that leave no gap win. Without such a deal, the gaps stay for the caller.
    for moves in range(LONGEST_CHAIN + 1):
        closed = _search_moves(by_label, parts, targets, moves)
        if closed is not None:
            parts = closed
            break

    dealt: dict[str, SplitName] = {}
    for unit in units:
        dealt.update(dict.fromkeys(unit.contents, parts[unit.key]))
    return dealt


def _divide_class(members: Sequence[Unit], shares: Thresholds) -> list[SplitName]:
    """The parts of one class's units, which come by place."""
    parts: list[SplitName] = []
    num_following = len(shares)
    for part, below in shares.items():
        left = members[len(parts) :]
        num_below = sum(unit.place < below for unit in left)
        num_wanted = max(1, num_below)
        # One unit stays for each part that follows, training among them.
        num_spare = max(0, len(left) - num_following)
        num_taken = min(num_wanted, num_spare)
        parts.extend([part] * num_taken)
        num_following -= 1

    num_rest = len(members) - len(parts)
    parts.extend([REST] * num_rest)
    return parts


def _fill_first_gap(
    by_label: UnitsByLabel,
    parts: dict[str, SplitName],
    targets: Thresholds,
) -> bool:
    """Move the nearest unit that can be spared into the first gap that has one."""
    counts: Counter[tuple[str, SplitName]] = Counter()
    for label, members in by_label.items():
        for unit in members:
            current = parts[unit.key]
            counts[label, current] += 1

    for label, part in _find_gaps(by_label, parts, targets):
        by_distance = _sort_by_distance(by_label[label], targets[part])
        for unit in by_distance:
            current = parts[unit.key]
            # The last unit of a class in its part would leave a gap behind.
            fewest = min(counts[each, current] for each in unit.labels)
            if fewest > 1:
                parts[unit.key] = part
                return True
    return False


def _search_moves(
    by_label: UnitsByLabel,
    parts: dict[str, SplitName],
    targets: Thresholds,
    moves: int,
) -> dict[str, SplitName] | None:
    """The parts after at most so many moves, or None.

    Each move fills the first gap, and may open another.
    """
    gap = next(_find_gaps(by_label, parts, targets), None)
    if gap is None:
        return parts
    if moves == 0:
        return None

    label, part = gap
    by_distance = _sort_by_distance(by_label[label], targets[part])
    for unit in by_distance[:CHOICES]:
        # A copy, because another branch of the search starts from the same parts.
        moved = {**parts, unit.key: part}
        dealt = _search_moves(by_label, moved, targets, moves - 1)
        if dealt is not None:
            return dealt
    return None


def _sort_by_distance(units: Sequence[Unit], target: float) -> list[Unit]:
    """The units, those first whose place is nearest to where the part begins or ends."""
    return sorted(units, key=lambda unit: abs(unit.place - target))


def _find_gaps(
    by_label: UnitsByLabel,
    parts: Mapping[str, SplitName],
    targets: Thresholds,
) -> Iterator[tuple[str, SplitName]]:
    """Each class and part without a unit."""
    for label, members in by_label.items():
        filled = {parts[unit.key] for unit in members}
        for part in targets:
            if part not in filled:
                yield label, part

"""From units to parts: thresholds on their places, then repairs so that no class lacks a part."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from job.audit.units import Unit
from job.settings import SplitName

# In the order in which an image may be held out ever more strictly.
PARTS: tuple[SplitName, ...] = ("train", "val", "test")

# The part of all units that no threshold claims.
REST: SplitName = "train"

# Classes that lack a part are tiny, so a short search finds a deal if there is one.
LONGEST_CHAIN = 6
CHOICES = 8


def deal(units: Sequence[Unit], shares: Mapping[SplitName, float]) -> dict[str, SplitName]:
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
    by_label = _group_by_label(units)
    parts: dict[str, SplitName] = {}
    for unit in units:
        claims = [part for part, below in shares.items() if unit.place < below]
        parts[unit.key] = claims[0] if claims else REST

    # The first class that wants a unit elsewhere decides.
    repairs: dict[str, SplitName] = {}
    for members in by_label.values():
        for unit, part in zip(members, _divide_class(members, shares), strict=True):
            if part != parts[unit.key]:
                repairs.setdefault(unit.key, part)
    parts |= repairs

    targets = {**shares, REST: 1.0}
    # Each move fills a gap and makes none, so this ends. After a move, all places are tried again.
    places = [(label, part) for label in by_label for part in targets]
    while any(_fill_gap(label, part, targets, by_label, parts) for label, part in places):
        pass
    parts = _close_gaps(by_label, parts, targets)

    dealt = {}
    for unit in units:
        for sha256 in unit.contents:
            dealt[sha256] = parts[unit.key]
    return dealt


def _group_by_label(units: Sequence[Unit]) -> dict[str, list[Unit]]:
    by_label: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        for label in unit.labels:
            by_label[label].append(unit)
    return dict(sorted(by_label.items()))


def _divide_class(members: Sequence[Unit], shares: Mapping[SplitName, float]) -> list[SplitName]:
    """The parts of one class's units, which come by place."""
    parts: list[SplitName] = []
    for index, (part, below) in enumerate(shares.items()):
        left = members[len(parts) :]
        num_below = sum(unit.place < below for unit in left)
        # One unit stays for each part that follows, training among them.
        num_spare = len(left) - (len(shares) - index)
        parts += [part] * max(0, min(max(1, num_below), num_spare))
    parts += [REST] * (len(members) - len(parts))
    return parts


def _fill_gap(
    label: str,
    part: SplitName,
    targets: Mapping[SplitName, float],
    by_label: Mapping[str, Sequence[Unit]],
    parts: dict[str, SplitName],
) -> bool:
    """Move the nearest unit, if the class lacks the part and a unit can be spared."""
    members = by_label[label]
    if any(parts[unit.key] == part for unit in members):
        return False
    movable = [unit for unit in members if not _is_last_of_part(unit, by_label, parts)]
    if not movable:
        return False
    nearest = min(movable, key=lambda unit: abs(unit.place - targets[part]))
    parts[nearest.key] = part
    return True


def _is_last_of_part(
    unit: Unit, by_label: Mapping[str, Sequence[Unit]], parts: Mapping[str, SplitName]
) -> bool:
    """Whether a class of the unit would lack the unit's part without it."""
    for label in unit.labels:
        alike = [other for other in by_label[label] if parts[other.key] == parts[unit.key]]
        if len(alike) == 1:
            return True
    return False


def _close_gaps(
    by_label: Mapping[str, Sequence[Unit]],
    parts: Mapping[str, SplitName],
    targets: Mapping[SplitName, float],
) -> dict[str, SplitName]:
    """The parts after the fewest moves that leave no gap, or unchanged if there is no such deal."""
    for moves in range(LONGEST_CHAIN + 1):
        dealt = _search_moves(by_label, dict(parts), targets, moves)
        if dealt is not None:
            return dealt
    return dict(parts)


def _search_moves(
    by_label: Mapping[str, Sequence[Unit]],
    parts: dict[str, SplitName],
    targets: Mapping[SplitName, float],
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
    by_distance = sorted(by_label[label], key=lambda unit: abs(unit.place - targets[part]))
    for unit in by_distance[:CHOICES]:
        dealt = _search_moves(by_label, {**parts, unit.key: part}, targets, moves - 1)
        if dealt is not None:
            return dealt
    return None


def _find_gaps(
    by_label: Mapping[str, Sequence[Unit]],
    parts: Mapping[str, SplitName],
    targets: Mapping[SplitName, float],
) -> Iterator[tuple[str, SplitName]]:
    """Each class and part without a unit."""
    for label, members in by_label.items():
        filled = {parts[unit.key] for unit in members}
        for part in targets:
            if part not in filled:
                yield label, part

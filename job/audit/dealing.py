"""Units to parts: thresholds on their places, then repairs so that no class lacks a part."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from job.audit.units import Unit
from job.settings import SplitName

PARTS: tuple[SplitName, ...] = ("train", "val", "test")
"""In the order in which an image may be held out ever more strictly."""

REST: SplitName = "train"

LONGEST_CHAIN = 6
CHOICES = 8
"""Classes that lack a part are tiny: a short search finds a deal if there is one."""


def deal(units: Sequence[Unit], shares: Mapping[SplitName, float]) -> dict[str, SplitName]:
    """Deals whole units out.

    In each class, by place: the first part takes what lies below its share, or the lowest if
    nothing does; the next part likewise from what is left; the rest trains. A part leaves at least
    one unit for each part after it, so that an empty train takes the highest back. Where units hold
    several classes, one class's repair may rob another one: what is still missing then is fetched
    from where it does no such harm, if there is such a unit.

    Args:
        units: by place.
        shares: for each part to fill but the rest, in order: below which place.

    Returns:
        For each content (SHA-256) its part. A class of too few units may lack a part.
    """
    by_label = _by_label(units)
    parts = {unit.key: _by_place(unit, shares) for unit in units}
    repairs: dict[str, SplitName] = {}
    for members in by_label.values():
        for unit, part in zip(members, _cut(members, shares), strict=True):
            if part != parts[unit.key]:
                repairs.setdefault(unit.key, part)
    parts |= repairs
    targets = {**shares, REST: 1.0}
    _fill_gaps(by_label, parts, targets)
    parts = _rearranged(by_label, parts, targets)
    return {sha256: parts[unit.key] for unit in units for sha256 in unit.contents}


def _by_place(unit: Unit, shares: Mapping[SplitName, float]) -> SplitName:
    return next((part for part, below in shares.items() if unit.place < below), REST)


def _by_label(units: Sequence[Unit]) -> dict[str, list[Unit]]:
    by_label: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        for label in unit.labels:
            by_label[label].append(unit)
    return dict(sorted(by_label.items()))


def _cut(members: Sequence[Unit], shares: Mapping[SplitName, float]) -> list[SplitName]:
    """The parts of one class's units, which come by place."""
    dealt: list[SplitName] = []
    for done, (part, below) in enumerate(shares.items()):
        rest = members[len(dealt) :]
        spare = len(rest) - (len(shares) - done)  # one for each part that follows
        wanted = max(1, sum(unit.place < below for unit in rest))
        dealt += [part] * max(0, min(wanted, spare))
    return dealt + [REST] * (len(members) - len(dealt))


def _fill_gaps(
    by_label: Mapping[str, Sequence[Unit]],
    parts: dict[str, SplitName],
    targets: Mapping[SplitName, float],
) -> None:
    """Each move fills a gap and makes none, so that there is an end."""
    gaps = [(label, part) for label in by_label for part in targets]
    while any(_fill(label, part, targets[part], by_label, parts) for label, part in gaps):
        pass


def _rearranged(
    by_label: Mapping[str, Sequence[Unit]],
    parts: Mapping[str, SplitName],
    targets: Mapping[SplitName, float],
) -> dict[str, SplitName]:
    """The parts after the fewest further moves that leave no gap; as they are, if `LONGEST_CHAIN` moves do not do."""
    chains = (_chain(by_label, dict(parts), targets, moves) for moves in range(LONGEST_CHAIN + 1))
    return next((dealt for dealt in chains if dealt), dict(parts))


def _chain(
    by_label: Mapping[str, Sequence[Unit]],
    parts: dict[str, SplitName],
    targets: Mapping[SplitName, float],
    moves: int,
) -> dict[str, SplitName] | None:
    """The parts after at most so many moves, each of which fills the first gap and may open another."""
    gap = next(_gaps(by_label, parts, targets), None)
    if gap is None or moves == 0:
        return parts if gap is None else None
    label, part = gap
    nearest = sorted(by_label[label], key=lambda unit: abs(unit.place - targets[part]))[:CHOICES]
    tried = (_chain(by_label, {**parts, unit.key: part}, targets, moves - 1) for unit in nearest)
    return next((dealt for dealt in tried if dealt), None)


def _gaps(
    by_label: Mapping[str, Sequence[Unit]],
    parts: Mapping[str, SplitName],
    targets: Mapping[SplitName, float],
) -> Iterator[tuple[str, SplitName]]:
    for label, members in by_label.items():
        filled = {parts[unit.key] for unit in members}
        yield from ((label, part) for part in targets if part not in filled)


def _fill(
    label: str,
    part: SplitName,
    target: float,
    by_label: Mapping[str, Sequence[Unit]],
    parts: dict[str, SplitName],
) -> bool:
    """Moves the unit whose place is nearest, if the class lacks the part and there is a unit that nobody would miss."""
    members = by_label[label]
    if any(parts[unit.key] == part for unit in members):
        return False

    def is_missed(unit: Unit) -> bool:
        alike = (
            [other for other in by_label[each] if parts[other.key] == parts[unit.key]]
            for each in unit.labels
        )
        return any(len(others) == 1 for others in alike)

    movable = [unit for unit in members if not is_missed(unit)]
    if movable:
        parts[min(movable, key=lambda unit: abs(unit.place - target)).key] = part
    return bool(movable)

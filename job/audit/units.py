"""The units that a split deals out: images that must stay together, with a place from 0 to 1."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from job.dataset import Record

# Part of the contract: another salt would be another split.
SALT = b"graft-split-1"


@dataclass(frozen=True, slots=True, order=True)
class Unit:
    """One content, or everything that its group ties together. Ordered by place.

    Attributes:
        place: in [0, 1), the rule's u.
        contents: SHA-256 digests.
    """

    place: float
    key: str
    labels: frozenset[str]
    contents: frozenset[str]


def compute_place(key: str) -> float:
    """The rule's u: the first 8 bytes (big-endian) of SHA-256("graft-split-1" + key) / 2^64.

    The key, in UTF-8, is a file's SHA-256 as 64 hexadecimal digits in lower case, or the name of
    its group.
    """
    digest = hashlib.sha256(SALT + key.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def form_units(records: Iterable[Record]) -> list[Unit]:
    """The units, by place.

    A content that is in two groups ties them together. Such a unit has the highest place of its
    keys: a tie to another group later can move an image towards train, never towards test.
    """
    records = list(records)
    roots = _find_roots({(_key_of(record), record.sha256) for record in records})
    members: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        members[roots[_key_of(record)]].append(record)

    units = []
    for tied in members.values():
        place, key = max((compute_place(key), key) for key in {_key_of(record) for record in tied})
        labels = frozenset(record.label for record in tied)
        contents = frozenset(record.sha256 for record in tied)
        units.append(Unit(place, key, labels, contents))
    return sorted(units)


def _key_of(record: Record) -> str:
    return record.group or record.sha256


def _find_roots(ties: Iterable[tuple[str, str]]) -> dict[str, str]:
    """For each end of a tie, one representative of everything that it is tied to.

    This is union-find with path halving.
    """
    parents: dict[str, str] = {}

    def find_root(node: str) -> str:
        parents.setdefault(node, node)
        while parents[node] != node:
            parents[node] = node = parents[parents[node]]
        return node

    for one, other in ties:
        parents[find_root(one)] = find_root(other)
    return {node: find_root(node) for node in list(parents)}

"""The units that a split deals out: images that must stay together, and their place between 0 and 1."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from job.dataset import Record

_SALT = b"graft-split-1"


@dataclass(frozen=True, slots=True, order=True)
class Unit:
    """One content, or all that its group ties together. Ordered by place."""

    place: float  # in [0, 1): the rule's u
    key: str
    labels: frozenset[str]
    contents: frozenset[str]  # SHA-256 digests


def place(key: str) -> float:
    """The rule's u: the first 8 bytes (big-endian) of SHA-256("graft-split-1" + key) / 2^64.

    The key, in UTF-8, is a file's SHA-256 as 64 hexadecimal digits in lower case, or the name of
    its group.
    """
    return int.from_bytes(hashlib.sha256(_SALT + key.encode()).digest()[:8], "big") / 2**64


def units_of(records: Iterable["Record"]) -> list[Unit]:
    """The units, by place.

    One content that stands in two groups ties them together. Such a unit has the highest place of
    its keys: to be tied to another group later can move an image towards train, never towards test.
    """
    records = list(records)
    roots = _tied({(_key(record), record.sha256) for record in records})
    members: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        members[roots[_key(record)]].append(record)
    return sorted(_unit(alike) for alike in members.values())


def _key(record: "Record") -> str:
    return record.group or record.sha256


def _unit(records: list["Record"]) -> Unit:
    highest, key = max((place(key), key) for key in {_key(record) for record in records})
    labels, contents = {record.label for record in records}, {record.sha256 for record in records}
    return Unit(highest, key, frozenset(labels), frozenset(contents))


def _tied(ties: Iterable[tuple[str, str]]) -> dict[str, str]:
    """For each end of a tie a representative of all that it is tied to (union-find with path halving)."""
    parents: dict[str, str] = {}

    def root(node: str) -> str:
        parents.setdefault(node, node)
        while parents[node] != node:
            parents[node] = node = parents[parents[node]]
        return node

    for one, other in ties:
        parents[root(one)] = root(other)
    return {node: root(node) for node in list(parents)}

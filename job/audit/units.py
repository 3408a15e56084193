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
    salted = SALT + key.encode()
    digest = hashlib.sha256(salted).digest()
    number = int.from_bytes(digest[:8], "big")
    return number / 2**64


def form_units(records: Iterable[Record]) -> list[Unit]:
    """The units, by place.

    A content that is in two groups ties them together. Such a unit has the highest place of its
    keys: a tie to another group later can move an image towards train, never towards test.
    """
    # Union-find with path halving: each key and each content is a node, each record an edge.
    parents: dict[str, str] = {}

    def find_root(node: str) -> str:
        parents.setdefault(node, node)
        while parents[node] != node:
            parents[node] = node = parents[parents[node]]
        return node

    records = list(records)
    for record in records:
        root = find_root(_key_of(record))
        parents[root] = find_root(record.sha256)

    members = defaultdict(list)
    for record in records:
        root = find_root(record.sha256)
        members[root].append(record)

    units = []
    for tied in members.values():
        keys = set(map(_key_of, tied))
        key = max(keys, key=compute_place)
        labels = frozenset(record.label for record in tied)
        contents = frozenset(record.sha256 for record in tied)
        unit = Unit(place=compute_place(key), key=key, labels=labels, contents=contents)
        units.append(unit)
    return sorted(units)


def _key_of(record: Record) -> str:
    return record.group or record.sha256

"""Which new images are compared with which known ones, to find out whether they differ."""

import hashlib
from collections.abc import Iterable, Set
from dataclasses import dataclass

from job.dataset import Record

# Of the new images and of the known ones, so many are compared at most. With more of them the test
# would find differences that are too small to matter.
SAMPLE = 512

# The SHA-256 and the label of images.
Images = Set[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Samples:
    """Images to compare, each once: new ones, and known ones of the same classes."""

    new: tuple[Record, ...]
    known: tuple[Record, ...]


def draw_samples(records: Iterable[Record], seen: Images, used: Images, seed: int) -> Samples:
    """Draw the images that are compared: the same ones in each night, as long as they are there.

    Images of one group are alike, so one of them stands for all.

    Args:
        records: the data set.
        seen: images that the release's run has seen.
        used: those of them that it has used.
        seed: of the draw.
    """

    def draw_rank(record: Record) -> bytes:
        return hashlib.sha256(f"{seed} {record.sha256}".encode()).digest()

    new: dict[str, Record] = {}
    known: dict[str, Record] = {}
    for record in sorted(records, key=draw_rank):
        image = (record.sha256, record.label)
        key = record.group or record.sha256
        if image not in seen:
            new.setdefault(key, record)
        elif image in used:
            known.setdefault(key, record)
    newest = list(new.values())[:SAMPLE]
    labels = {record.label for record in newest}
    alike = [record for record in known.values() if record.label in labels]
    return Samples(tuple(newest), tuple(alike[:SAMPLE]))

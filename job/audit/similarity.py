"""Images that look alike though their bytes differ: a 64-bit difference hash, and its neighbours across splits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from job.audit.dealing import PARTS
from job.settings import SplitName

if TYPE_CHECKING:
    from job.audit.splitting import Example

Hashes = NDArray[np.uint64]

CLOSE_BITS = 3
"""Hashes that differ in at most 3 of 64 bits are near: of their 4 bands of 16 bits at least one is then equal."""

_NOISE = 1.0  # grey levels: compression makes such steps in a flat area
_BANDS = 4


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """An image held out of training, and the image of an earlier split that it looks most like."""

    name: str
    split: str
    other: str
    other_split: str
    bits: int  # in which the hashes differ: 0 to 3 of 64


def difference_hash(image: Any) -> Any:
    """For each of 8x8 places: is it brighter than its right neighbour?

    dHash: N. Krawetz, "Kind of like that" (2013); here a step must be larger than the noise of
    compression.

    Args:
        image: uint8 [height, width, 3], RGB.

    Returns:
        bool [64], made in the graph.
    """
    import tensorflow as tf

    small = tf.image.resize(
        image, [8, 9], "bilinear", antialias=True
    )  # float32 [8, 9, 3]; grey later: small
    grey = tf.tensordot(tf.cast(small, tf.float32), [0.299, 0.587, 0.114], 1)  # float32 [8, 9]
    return tf.reshape(grey[:, :-1] > grey[:, 1:] + _NOISE, [64])


def near_duplicates(
    parts: Mapping[SplitName, Sequence["Example"]], hashes: Mapping[str, int]
) -> tuple[NearDuplicate, ...]:
    """For each image of val and test the nearest in the earlier splits (train before val before test), if close."""
    where = [(part, example) for part in PARTS for example in parts[part]]
    ranks = np.repeat(np.arange(len(PARTS)), [len(parts[part]) for part in PARTS])
    values = np.array([hashes[example.sha256] for _, example in where], np.uint64)
    nearest: dict[
        int, tuple[int, int]
    ] = {}  # index of the later image -> (bits, index of the earlier one)
    for later, earlier, bits in _close_pairs(values, ranks):
        nearest[later] = min(nearest.get(later, (bits, earlier)), (bits, earlier))
    found = sorted((later, earlier, bits) for later, (bits, earlier) in nearest.items())
    return tuple(
        NearDuplicate(
            where[later][1].name, where[later][0], where[earlier][1].name, where[earlier][0], bits
        )
        for later, earlier, bits in found
    )


def _close_pairs(values: Hashes, ranks: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """(later, earlier, bits): for each hash the nearest of an earlier split among those that share a band with it.

    Quadratic in a crowd (a thousand blank pictures), but one row at a time: it costs no memory.
    """
    for band in range(_BANDS):
        keys = (values >> np.uint64(16 * band) & np.uint64(0xFFFF)).astype(np.int64) * len(
            PARTS
        ) + ranks
        order = np.argsort(keys, kind="stable")  # of equal bands the earlier splits come first
        starts, ends = (np.searchsorted(keys[order], each) for each in (keys - ranks, keys))
        for later in np.flatnonzero(starts < ends):
            earlier = order[starts[later] : ends[later]]
            bits = np.bitwise_count(values[earlier] ^ values[later])
            best = np.argmin(bits)
            if bits[best] <= CLOSE_BITS:
                yield int(later), int(earlier[best]), int(bits[best])

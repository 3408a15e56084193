"""Images that look alike though their bytes differ: a 64-bit difference hash, compared by split."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.audit.dealing import PARTS
from job.audit.examples import Example
from job.settings import SplitName

Hashes = NDArray[np.uint64]

# Hashes that differ in at most 3 of 64 bits are near: of their 4 bands of 16 bits at least one is
# then equal.
CLOSE_BITS = 3
BANDS = 4
BAND_BITS = 16

# Grey levels: compression makes such steps in a flat area.
NOISE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NearDuplicate:
    """An image held out of training, and the most similar image of an earlier split.

    `bits` is how many of the 64 bits of their hashes differ: 0 to 3.
    """

    name: str
    split: str
    other: str
    other_split: str
    bits: int


def compute_difference_hash(image: Any) -> Any:
    """For each of 8x8 places, whether it is brighter than its right neighbour.

    dHash: N. Krawetz, "Kind of like that" (2013). Here a step must also be larger than the noise of
    compression.

    Args:
        image: uint8 [height, width, 3], RGB.

    Returns:
        bool [64], made in the graph.
    """
    # Late, because the rest of the audit needs no TensorFlow.
    import tensorflow as tf

    # Now float32 [8, 9, 3]. Grey comes after the resize, because this image is small.
    small = tf.image.resize(image, [8, 9], "bilinear", antialias=True)
    # Still float32, [8, 9].
    grey = tf.tensordot(tf.cast(small, tf.float32), [0.299, 0.587, 0.114], 1)
    return tf.reshape(grey[:, :-1] > grey[:, 1:] + NOISE, [64])


def find_near_duplicates(
    parts: Mapping[SplitName, Sequence[Example]], hashes: Mapping[str, int]
) -> tuple[NearDuplicate, ...]:
    """For each image of val and test the most similar one of an earlier split, if it is close.

    Train comes before val, and val before test.
    """
    examples: list[tuple[SplitName, Example]] = []
    for part in PARTS:
        examples += [(part, example) for example in parts[part]]
    ranks = np.array([PARTS.index(part) for part, _ in examples], np.int64)
    values = np.array([hashes[example.sha256] for _, example in examples], np.uint64)

    # By the index of the later image: the bits that differ, and the index of the earlier one.
    nearest: dict[int, tuple[int, int]] = {}
    for later, earlier, bits in _find_close_pairs(values, ranks):
        nearest[later] = min(nearest.get(later, (bits, earlier)), (bits, earlier))

    found = []
    for later, (bits, earlier) in sorted(nearest.items()):
        part, example = examples[later]
        other_part, other = examples[earlier]
        found.append(
            NearDuplicate(
                name=example.name,
                split=part,
                other=other.name,
                other_split=other_part,
                bits=bits,
            )
        )
    return tuple(found)


def _find_close_pairs(values: Hashes, ranks: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """(later, earlier, bits): for each hash and band the nearest one of an earlier split.

    Only hashes that share the band are compared. That is quadratic in a crowd (a thousand blank
    pictures), but one row at a time: it costs no memory.
    """
    for band in range(BANDS):
        bits_of_band = values >> np.uint64(BAND_BITS * band) & np.uint64(0xFFFF)
        # Sorted by band first, and among equal bands the earlier splits come first.
        keys = bits_of_band.astype(np.int64) * len(PARTS) + ranks
        order = np.argsort(keys, kind="stable")
        ordered_keys = keys[order]
        starts = np.searchsorted(ordered_keys, keys - ranks)
        ends = np.searchsorted(ordered_keys, keys)
        for later in np.flatnonzero(starts < ends):
            earlier = order[starts[later] : ends[later]]
            bits = np.bitwise_count(values[earlier] ^ values[later])
            best = np.argmin(bits)
            if bits[best] <= CLOSE_BITS:
                yield int(later), int(earlier[best]), int(bits[best])

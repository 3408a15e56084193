"""Images that look alike though their bytes differ: a 64-bit difference hash, compared by split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from job.audit.dealing import PARTS
from job.audit.examples import Example
from job.settings import SplitName

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
    small = tf.cast(small, tf.float32)
    # Still float32, [8, 9].
    grey = tf.tensordot(small, [0.299, 0.587, 0.114], 1)
    left = grey[:, :-1]
    right = grey[:, 1:]
    return tf.reshape(left > right + NOISE, [64])


def find_near_duplicates(
    parts: Mapping[SplitName, Sequence[Example]], hashes: Mapping[str, int]
) -> tuple[NearDuplicate, ...]:
    """For each image of val and test the most similar one of an earlier split, if it is close.

    Train comes before val, and val before test.
    """
    examples = []
    example_ranks = []
    example_hashes = []
    for rank, part in enumerate(PARTS):
        for example in parts[part]:
            examples.append((part, example))
            example_ranks.append(rank)
            example_hashes.append(hashes[example.sha256])
    # The types are said, because numpy would guess others for an empty list and for a large number.
    ranks = np.array(example_ranks, np.int64)
    values = np.array(example_hashes, np.uint64)

    # By the index of the later image: the bits that differ, and the index of the earlier one.
    nearest: dict[int, tuple[int, int]] = {}
    for band in range(BANDS):
        shift = np.uint64(BAND_BITS * band)
        bits_of_band = values >> shift & np.uint64(0xFFFF)
        # Sorted by band first, and among equal bands the earlier splits come first.
        keys = bits_of_band.astype(np.int64) * len(PARTS) + ranks
        order = np.argsort(keys, kind="stable")
        ordered_keys = keys[order]
        starts = np.searchsorted(ordered_keys, keys - ranks)
        ends = np.searchsorted(ordered_keys, keys)

        # Only hashes that share the band are compared. That is quadratic in a crowd (a thousand
        # blank pictures), but one row at a time: it costs no memory.
        for later in map(int, np.flatnonzero(starts < ends)):
            earlier = order[starts[later] : ends[later]]
            bits = np.bitwise_count(values[earlier] ^ values[later])
            best = np.argmin(bits)
            if bits[best] > CLOSE_BITS:
                continue
            # Several bands can find a neighbour. Ties go to the lower index.
            fewest = int(bits[best])
            index = int(earlier[best])
            candidate = (fewest, index)
            known = nearest.get(later, candidate)
            nearest[later] = min(known, candidate)

    found = []
    for later, (distance, index) in sorted(nearest.items()):
        part, example = examples[later]
        other_part, other = examples[index]
        near_duplicate = NearDuplicate(
            name=example.name,
            split=part,
            other=other.name,
            other_split=other_part,
            bits=distance,
        )
        found.append(near_duplicate)
    return tuple(found)

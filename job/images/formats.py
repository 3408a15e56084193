"""The formats that are decoded, and a branch of the graph for each one that occurs."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from job.images.blocks import has_bytes

Tensor = Any

# What the files of each format begin with. Those of WebP say so later, and are what is left.
STARTS = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "GIF": b"GIF8",
    "BMP": b"BM",
    "WebP": b"",
}
FORMATS = tuple(STARTS)


def choose_by_format(encoded: Tensor, branches: Mapping[str, Callable[[], Tensor]]) -> Tensor:
    """Take the branch of a file's format.

    Args:
        encoded: string [], the file's bytes.
        branches: by format, in the order of FORMATS. A file of none of them takes the last one.
    """
    *tested, last = branches
    if not tested:
        return branches[last]()
    cases = [(has_bytes(encoded, 0, STARTS[name]), branches[name]) for name in tested]
    return tf.case(cases, default=branches[last])

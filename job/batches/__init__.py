"""Splits -> tf.data."""

from job.batches.feed import EVALUATION_BATCH, Feed, build_feed, collect_labels, pad_rows
from job.batches.loading import Rows, convert_pixels

__all__ = [
    "EVALUATION_BATCH",
    "Feed",
    "Rows",
    "build_feed",
    "collect_labels",
    "convert_pixels",
    "pad_rows",
]

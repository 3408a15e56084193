"""The drawn pictures and the small classifier of the tests of training."""

from tests.training.conftest import _deterministic, context, feed, splits

__all__ = ["_deterministic", "context", "feed", "splits"]

"""Several requests to a store at once."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

CONNECTIONS = 8


def in_parallel(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Call a function that waits for the store on each item, and return the results in order.

    After the first error, or SIGTERM, no further call begins.
    """
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        try:
            return list(pool.map(function, items))
        except BaseException:
            # SIGTERM raises here as well. The calls that still wait would outlast the grace period.
            pool.shutdown(cancel_futures=True)
            raise

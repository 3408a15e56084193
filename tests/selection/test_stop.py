"""A stop that is asked for while heads are solved is heard before their next evaluation."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from job import selection
from job.batches import Feed
from job.errors import STOP_SIGNALS
from job.settings import TransferSettings
from job.training import TrainingContext
from job.workers import Stop, Terminated
from tests.training.conftest import build_classifier

# The function that computes a loss once.
MODULE, FUNCTION = "quick.py", "__call__"
# Later than the first penalty.
STOPPED_AT = 40


class PieceCounter:
    """Counts the evaluations of a loss, and sends SIGTERM at one of them."""

    pieces = 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        module = Path(code.co_filename).name
        if event == "call" and (module, code.co_name) == (MODULE, FUNCTION):
            self.pieces += 1
            if self.pieces == STOPPED_AT:
                os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def stop() -> Iterator[Stop]:
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    stop = Stop()
    stop.install()
    yield stop
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_stop_is_heard_between_two_pieces_of_a_solve(
    feed: Callable[..., Feed],
    context: Callable[..., TrainingContext],
    stop: Stop,
) -> None:
    images, surroundings, classifier = feed(), context(stop=stop), build_classifier()
    counter = PieceCounter()

    def solve_heads() -> None:
        measured = selection.measure_data(classifier, images, surroundings)
        selection.race_candidates(
            classifier, images, TransferSettings(budget=0), measured, surroundings
        )

    sys.setprofile(counter)
    try:
        with pytest.raises(Terminated):
            solve_heads()
    finally:
        sys.setprofile(None)
    assert counter.pieces == STOPPED_AT

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

# Each of these computes a loss once: in float64 for the head, in float32 for what is measured.
PIECES = {"probe.py": "evaluate", "quick.py": "__call__"}
# Later than the first penalty.
STOPPED_AT = 40


class PieceCounter:
    """Counts the evaluations of a loss in one module, and sends SIGTERM at one of them."""

    def __init__(self, module: str) -> None:
        self.pieces = 0
        self._module = module

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        module = Path(code.co_filename).name
        if event == "call" and module == self._module and code.co_name == PIECES[module]:
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


@pytest.mark.parametrize("module", PIECES)
def test_a_stop_is_heard_between_two_pieces_of_a_solve(
    feed: Callable[..., Feed],
    context: Callable[..., TrainingContext],
    stop: Stop,
    module: str,
) -> None:
    images, surroundings, classifier = feed(), context(stop=stop), build_classifier()
    counter = PieceCounter(module)

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

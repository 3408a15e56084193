"""Whole runs with TensorFlow that are killed: the same bytes, and figures of how long they took."""

from pathlib import Path

import pytest

from tools.torture.real import Kill, summarize, torture


@pytest.mark.runs
def test_a_run_that_is_killed_at_a_random_moment_ends_with_the_same_bytes(tmp_path: Path) -> None:
    figures, differences = torture(tmp_path, kills=1, seed=1, seconds=600, variant="head")
    assert differences == 0
    assert figures["kills"] >= 1


def test_the_figures_tell_the_phases_and_the_double_kills_apart() -> None:
    kills = []
    for history, kind, phase, seconds in (
        (0, "SIGTERM", "training", 1.0),
        (0, "SIGKILL", "export", 0.0),
        (1, "SIGTERM", "training", 3.0),
    ):
        kill = Kill(history=history, signal=kind, phase=phase, seconds=seconds, code=75)
        kills.append(kill)
    figures = summarize(kills)
    assert figures["kills"] == 3
    assert figures["kill -9"] == 1
    assert figures["runs with several"] == 1
    assert figures["SIGTERM to the end, seconds"] == {"training": {"n": 2, "p50": 2.0, "p99": 2.98}}

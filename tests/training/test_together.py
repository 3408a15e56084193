"""Two workers, each a process of its own, against one.

A batch of 9 cannot be halved: one place in 10 is filled up.
"""

import json
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from job.workers import Shard
from tools.paths import ROOT

pytestmark = pytest.mark.runs


def train(folder: Path, workers: int) -> list[dict[str, Any]]:
    """Train with so many workers; the final report of each."""
    (folder / "bucket").mkdir(parents=True)
    addresses = free_addresses(workers) if workers > 1 else []
    command = [sys.executable, "-m", "tests.training.two_workers", str(folder)]
    processes = [
        subprocess.Popen(
            [*command, str(i), *addresses],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(workers)
    ]
    reports = []
    for process in processes:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err[-3000:]
        reports.append(json.loads(out.splitlines()[-1]))
    return reports


def free_addresses(number: int) -> list[str]:
    with ExitStack() as held:
        servers = [
            held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)
        ]
        return [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return train(tmp_path_factory.mktemp("one") / "run", 1)[0]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return train(tmp_path_factory.mktemp("two") / "run", 2)


def test_two_workers_end_with_the_same_weights_to_the_bit(two: list[dict[str, Any]]) -> None:
    assert two[0]["weights"] == two[1]["weights"]


def test_two_workers_give_the_result_of_one_at_the_same_global_batch(
    one: dict[str, Any], two: list[dict[str, Any]]
) -> None:
    for single, double in zip(one["weights"], two[0]["weights"], strict=True):
        np.testing.assert_allclose(double, single, atol=1e-5)
    for ours, theirs in zip(one["history"], two[0]["history"], strict=True):
        assert {**ours} == pytest.approx(theirs, abs=1e-5)


def test_two_workers_end_a_race_with_the_same_weights_to_the_bit(
    one: dict[str, Any], two: list[dict[str, Any]]
) -> None:
    assert two[0]["raced"] == two[1]["raced"]
    assert two[0]["candidates"] == two[1]["candidates"]
    alone = [row["name"] for row in one["candidates"]]
    assert [row["name"] for row in two[0]["candidates"]] == alone


def test_the_last_state_says_that_training_is_over(
    one: dict[str, Any], two: list[dict[str, Any]]
) -> None:
    assert all(report["over"] for report in [one, *two])


def test_workers_on_machines_that_differ_say_so_in_their_fingerprint(
    two: list[dict[str, Any]],
) -> None:
    assert [report["fingerprint"].split("; ", 1)[1] for report in two] == [
        "1 thread; 1 device; 2 workers, not alike",
        "2 threads; 1 device; 2 workers, not alike",
    ]


def test_workers_know_whether_they_all_say_the_same(two: list[dict[str, Any]]) -> None:
    assert all(report["agreed"] and report["differed"] for report in two)


def test_the_shares_of_all_workers_are_the_whole_batch_in_order() -> None:
    batches = np.arange(24).reshape(2, 12)
    shares = [Shard(index, 3, 2).take(batches) for index in range(3)]
    assert [share.shape for share in shares] == [(4, 2)] * 3
    whole = np.concatenate([share.reshape(2, 4) for share in shares], axis=1)
    np.testing.assert_array_equal(whole, batches)

"""Two logical CPU devices, each scenario in a process of its own."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from job.training.step import FIRST_SCALE
from tools.paths import ROOT

pytestmark = pytest.mark.runs


def train(scenario: str, devices: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.training.two_devices", scenario, str(devices)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["replicas"] == devices
    return result


def test_two_devices_give_the_result_of_one_at_the_same_global_batch() -> None:
    # With the gradient clipped: each device must clip by the norm of the whole gradient, also where
    # it adds that up from parts of its images.
    one, two = train("plain", 1), train("parts", 2)
    assert two["skipped"] == 0
    for single, (first, second) in zip(one["weights"], two["weights"], strict=True):
        assert first == second
        np.testing.assert_allclose(first, single[0], atol=1e-5)


def test_an_infinity_on_the_second_device_skips_the_step_on_both_and_halves_the_scale() -> None:
    result = train("overflow", 2)
    assert result["skipped"] == 1
    assert result["scale"] == FIRST_SCALE / 2
    for first, second in result["weights"]:
        assert first == second
        assert np.isfinite(first).all()

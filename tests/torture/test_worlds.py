"""Simulated worlds: none breaks an invariant, and a seed is one world."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tools.paths import ROOT
from tools.torture.plan import EVERY_KIND
from tools.torture.scenes import SCENES, draw_plan


def simulate(*options: str, hash_seed: str = "0") -> dict[str, Any]:
    """The figures of some worlds, in a process whose rooms with TensorFlow are replaced."""
    command = [sys.executable, "-m", "tools.torture", "--json", *options]
    environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


@pytest.fixture(scope="module")
def worlds() -> dict[str, Any]:
    return simulate("--worlds", "40")


def test_nothing_that_must_hold_is_broken(worlds: dict[str, Any]) -> None:
    assert worlds["failed"] == {}
    assert worlds["worlds"] == 40


def test_the_worlds_have_met_many_kinds_of_faults(worlds: dict[str, Any]) -> None:
    assert worlds["fault_points"] >= 15


def test_a_seed_gives_the_same_events_in_another_process(worlds: dict[str, Any]) -> None:
    again = simulate("--worlds", "12", hash_seed="7")
    assert again["digests"] == {seed: worlds["digests"][seed] for seed in again["digests"]}


@pytest.mark.parametrize("scene", SCENES)
def test_nothing_is_broken_in_the_worlds_of_one_scene(scene: str) -> None:
    worlds = simulate("--scene", scene, "--first", "4000", "--worlds", "6")
    assert worlds["failed"] == {}
    assert worlds["worlds"] == 6


def test_each_kind_of_fault_has_its_line_for_operators() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    _, _, rest = page.partition("## Faults\n")
    section, _, _ = rest.partition("\n## ")
    missing = [kind for kind in EVERY_KIND if f"`{kind}`" not in section]
    assert missing == []


@pytest.mark.parametrize("scene", SCENES)
def test_a_scene_draws_no_fault_that_operators_do_not_find(scene: str) -> None:
    for seed in range(200):
        assert {fault.kind for fault in draw_plan(seed, scene).faults} <= EVERY_KIND


def test_a_run_survives_a_kill_at_any_of_its_first_operations() -> None:
    swept = simulate("--sweep", "kill", "--store", "folder", "--worlds", "40")
    assert swept["failed"] == {}
    assert swept["worlds"] == 40

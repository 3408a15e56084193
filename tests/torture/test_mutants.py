"""Faults that are planted in a copy of our code: each can be planted, and the worlds notice."""

import pytest

from tools.paths import ROOT
from tools.torture.mutants import MUTANTS, Mutant, find_catch


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_text_that_a_mutant_replaces_occurs_once(mutant: Mutant) -> None:
    assert (ROOT / "job" / mutant.module).read_text().count(mutant.old) == 1


def test_a_training_that_goes_on_a_step_late_is_noticed() -> None:
    [mutant] = [each for each in MUTANTS if each.name == "training goes on a step late"]
    catch = find_catch(mutant)
    assert catch
    _, violation = catch
    assert "is not what an undisturbed run" in violation

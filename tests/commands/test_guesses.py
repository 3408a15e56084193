"""What `graft predict` and `graft rank` say of a probability."""

import pytest

from job.commands.releases import format_guesses
from job.publish import Prediction


@pytest.mark.parametrize(
    ("probability", "share"),
    [(0.99996, ">99.9%"), (1.0, ">99.9%"), (0.5, "50.0%"), (0.0004, "<0.1%"), (0.0, "<0.1%")],
)
def test_no_guess_reads_as_certain_and_none_as_impossible(probability: float, share: str) -> None:
    prediction = Prediction("cat.jpg", (("cat", probability),))
    assert format_guesses(prediction) == [f"cat {share}"]

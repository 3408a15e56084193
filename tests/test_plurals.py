"""One thing is singular, and everything else is plural."""

import pytest

from job.plurals import format_count


@pytest.mark.parametrize(
    ("count", "plural", "expected"),
    [
        (0, "boxes", "0 boxes"),
        (1, "boxes", "1 box"),
        (1024, "boxes", "1,024 boxes"),
        (1, "", "1 box"),
        (2, "", "2 boxs"),
    ],
)
def test_a_count_has_the_noun_that_fits(count: int, plural: str, expected: str) -> None:
    assert format_count(count, "box", plural) == expected

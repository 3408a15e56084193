"""JSON from others: what is ambiguous, endless or too deep is refused where it is read."""

import json

import pytest

from job import strict_json

DEEP = 100_000


@pytest.mark.parametrize(
    "text",
    [
        "[" * DEEP + "]" * DEEP,
        '{"a":' * 500 + "1" + "}" * 500,
        "[" * 66 + "]" * 66,
        "NaN",
        "[-Infinity]",
        "1e999",
        "9" * 5_000,
        str(1 << 63),
        '{"a": 1, "a": 2}',
        '{"a": {"b": 1, "b": 1}}',
        b"\xff\xfe{\x00}\x00",
        b"\xff",
        "",
        "{",
    ],
)
def test_what_could_mean_two_things_or_end_badly_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        strict_json.parse(text)


def test_what_graft_writes_is_read_as_the_standard_library_reads_it() -> None:
    value = {"name": "ölfleck", "rows": [[1, 2.5, None, True], {"bytes": (1 << 63) - 1}]}
    assert strict_json.parse(json.dumps(value)) == value
    assert strict_json.parse(b"\xef\xbb\xbf" + json.dumps(value).encode()) == value


def test_as_many_levels_as_are_allowed_are_read() -> None:
    levels = strict_json.MOST_LEVELS
    assert strict_json.parse("[" * levels + "]" * levels)

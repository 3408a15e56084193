"""JSON from places that others can write to, read more strictly than the standard library does.

    fields = parse(raw)

What this returns can be printed, compared, written again and formatted without a further error.
"""

import json
import math
from typing import Any, NoReturn

# Levels of objects and lists in each other. What Graft writes has six at most.
MOST_LEVELS = 64
# Numbers beyond this are not sizes, counts or times.
LARGEST_INTEGER = 1 << 63
# Of a manifest or a pointer. A manifest with 20,000 classes has half a megabyte.
MOST_BYTES = 64 << 20


def parse(raw: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON in UTF-8, or one of these is in it: a name that occurs twice in
            an object, NaN, infinity, a number beyond 64 bits, too many levels.
    """
    text = raw if isinstance(raw, str) else raw.decode("utf-8-sig")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_require_different_names,
            parse_constant=_refuse_constant,
            parse_float=_parse_finite,
            parse_int=_parse_bounded,
        )
    except RecursionError as error:
        raise ValueError(f"it has more than {MOST_LEVELS} levels") from error
    _require_few_levels(value)
    return value


def _require_different_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _parse_finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:40]} is beyond what a number can hold")
    return number


def _parse_bounded(digits: str) -> int:
    # The length first: Python takes long for many digits, or refuses them.
    if len(digits) > 20 or abs(int(digits)) >= LARGEST_INTEGER:
        raise ValueError(f"{digits[:40]} is beyond what a number can hold")
    return int(digits)


def _require_few_levels(value: Any) -> None:
    # Level by level, because a recursion would end as the parser's own does.
    level = [value]
    for _ in range(MOST_LEVELS + 1):
        below = []
        for each in level:
            children = each.values() if isinstance(each, dict) else each
            if isinstance(each, dict | list):
                below += [child for child in children if isinstance(child, dict | list)]
        if not below:
            return
        level = below
    raise ValueError(f"it has more than {MOST_LEVELS} levels")

"""What a cell says: a label, a split, or nothing."""

import ast
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from job.addresses import INVISIBLE
from job.dataset.folder_names import FILLERS, split_words
from job.settings import SplitName

# Cells that mean a part of a split, in lower case. The last ones are words of Vertex AI, SageMaker
# and Keras. None gives no split to the image.
SPLIT_WORDS: Mapping[str, SplitName | None] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "training": "train",
    "validate": "val",
    "testing": "test",
    "unassigned": None,
}

# What pandas, NumPy, R, SQL and Excel write where they have no value, in lower case.
# Excel's are those of a formula that failed.
MISSING_WORDS = frozenset(
    (
        *("nan", "-nan", "null", "none", "na", "n/a", "<na>", "nat", "#na", "#n/a", "#n/a n/a"),
        *("n.a.", "nil", "undefined", "tbd", "unlabeled", "unlabelled"),
        *("(null)", "[null]", "<null>", "(none)", "(blank)", "(empty)", "\\n"),
        *("#ref!", "#value!", "#name?", "#div/0!", "#null!", "#num!", "#spill!", "#calc!"),
        *("?", "??", "???", "-", "--", "---", ".", "..", "..."),
    )
)
# A class with a longer name is a description of its image.
LONGEST_LABEL = 200
# What tools for several labels put between them.
JOINERS = ("|", ",", ";")
WHOLE_NUMBER = re.compile(r"([+-]?\d+)\.0*")


def format_cell(value: Any) -> str:
    """The text of a cell. A missing value is empty.

    Raises:
        ValueError: it is not one value, completing "line 3 …".
    """
    # Tools for several labels write a list of one.
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return value.strip().strip(INVISIBLE).strip()
    # Before int, because True and False are integers in Python.
    if isinstance(value, bool):
        return "true" if value else "false"
    # Tools that go through a data frame write 3 as 3.0.
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    shown = json.dumps(value, ensure_ascii=False)[:40]
    if isinstance(value, list):
        raise ValueError(f"has {shown}; expected one label or name, not several")
    raise ValueError(f"has {shown}; expected text, a whole number, true or false")


def is_missing_word(text: str) -> bool:
    """Whether tools write this for a value that they do not have."""
    return text.lower() in MISSING_WORDS


def parse_split(text: str) -> SplitName | None:
    """The part of the split. Raises a ValueError that completes "line 3 …"."""
    word = text.lower()
    if not word or is_missing_word(word):
        return None
    if word in SPLIT_WORDS:
        return SPLIT_WORDS[word]
    # As names of folders are read: `train_set`.
    words = [word for word in split_words(text) if word not in FILLERS]
    if len(words) != 1 or words[0] not in SPLIT_WORDS:
        raise ValueError(f"has the split {text!r}; expected {', '.join(SPLIT_WORDS)} or nothing")
    return SPLIT_WORDS[words[0]]


def is_split_word(text: str) -> bool:
    """Whether a cell says a part of the split, or that there is none."""
    try:
        parse_split(text)
    except ValueError:
        return False
    return True


def parse_label(cell: Any) -> str:
    """The text of a label. A missing one is empty.

    Data frames and tools write lists and objects into cells of text: `['cat']`.

    Raises:
        ValueError: it is not one name, completing "line 3 …".
    """
    label = format_cell(cell)
    if label[:1] + label[-1:] in ("[]", "{}"):
        try:
            value = ast.literal_eval(label)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return label
        label = format_cell(value) if value else ""
    if len(label) > LONGEST_LABEL:
        raise ValueError(f"has a label of {len(label):,} characters; expected the name of a class")
    return label


def find_joined_labels(labels: Iterable[str]) -> dict[str, str]:
    """The labels that are several others, such as `cat|dog`, and what is between them."""
    known = set(labels)
    joined = {}
    for label in known:
        for separator in JOINERS:
            parts = [part.strip() for part in label.split(separator)]
            if len(parts) > 1 and known.issuperset(parts):
                joined[label] = separator
    return joined


def normalize_label(text: str) -> str:
    """One spelling, so that "é" of a Mac and of a PC are one class."""
    return unicodedata.normalize("NFC", text)


def find_number_spellings(labels: Iterable[str], *, are_numbers: bool) -> dict[str, str]:
    """The labels that are whole numbers with a decimal point, and how they are written without it.

    In a table of text `1.0` may be a name. It is a number where the format says so, or where the
    table also writes `1`.
    """
    known = set(labels)
    spellings = {}
    for label in known:
        if number := WHOLE_NUMBER.fullmatch(label):
            spellings[label] = number[1]
    if are_numbers or not known.isdisjoint(spellings.values()):
        return spellings
    return {}

"""Parts of the settings' fields: their effect on the model, and their types with the checks."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, WithJsonSchema

from job.addresses import AddressError, normalise
from job.catalogue import BACKBONES

# The name of a backbone that is still to be chosen by measurement.
AUTO: Final = "auto"

# How alike two words are, from 0 to 1, of which one was probably meant as the other. `EPOCHS` and
# `TRAINING_EPOCHS` are 0.57.
LEAST_LIKENESS = 0.55

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Formats = tuple[Literal["saved_model", "keras", "onnx", "litert"], ...]
Metric = Literal["accuracy", "balanced_accuracy", "macro_f1"]
Evidence = Literal["point", "interval"]
ImageFit = Literal["letterbox", "crop", "squash"]
Pooling = Literal["avg", "max", "flatten", "stages"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
DtypePolicy = Literal["float32", "mixed_bfloat16", "mixed_float16"]
SplitName = Literal["train", "val", "test"]
TransferMode = Literal["none", "part", "all"]


def shapes(default: Any = ..., **constraints: Any) -> Any:
    """Declare a field that decides which model comes out: part of the run's identity."""
    return Field(default, json_schema_extra={"effect": "shapes"}, **constraints)


def runs(default: Any = ..., **constraints: Any) -> Any:
    """Declare a field that only says how the work is done: not part of the run's identity."""
    return Field(default, json_schema_extra={"effect": "runs"}, **constraints)


def find_nearest(word: str, words: Iterable[str]) -> str:
    """Return the known word that was probably meant. Empty if none is near."""
    return next(iter(difflib.get_close_matches(word, list(words), n=1, cutoff=LEAST_LIKENESS)), "")


def split_at_commas(value: Any) -> Any:
    """Return the parts of a text that commas separate, and any other value as it is."""
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",")]
    return tuple(part for part in parts if part)


def _expand_home(value: Path) -> Path:
    try:
        return value.expanduser()
    # pydantic collects no other error than a ValueError.
    except RuntimeError as error:
        raise ValueError("expected a folder; `~` names a user without a home folder") from error


def _check_weights(value: str) -> str:
    value = value.strip()
    if value in ("imagenet", "none"):
        return value
    uri = value.removeprefix("release:")
    kind = value[: len(value) - len(uri)]
    expected = "expected imagenet, none, the URI of a file (s3://, file:///) or release:<uri>"
    # A single word is a misspelt `imagenet` rather than a file of this folder.
    if not re.search(r"[/\\.~]", uri):
        raise ValueError(expected)
    try:
        return kind + normalise(uri)
    except AddressError as error:
        raise ValueError(f"{expected}. {error.cure.removesuffix('.')}") from error


def _check_backbone(value: str) -> str:
    if value not in BACKBONES:
        nearest = find_nearest(value, BACKBONES)
        hint = f"; the nearest is {nearest}" if nearest else ""
        raise ValueError(f"no such backbone{hint}")
    return value


def _check_backbone_or_auto(value: str) -> str:
    return value if value == AUTO else _check_backbone(value)


def _check_encoding(value: str) -> str:
    try:
        # Codecs that turn bytes into bytes are refused here too.
        "".encode(value or "utf-8")
    except LookupError as error:
        raise ValueError("expected an encoding such as cp437, cp1252, gbk or shift_jis") from error
    return value


def _check_web_address(value: SecretStr) -> SecretStr:
    """Refuse what no request can be sent to. The message never repeats the address."""
    text = value.get_secret_value()
    expected = "expected http://… or https://… with a host, and no spaces"
    if not text:
        return value
    try:
        parts = urlsplit(text)
        # Reading the port checks it.
        is_complete = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_complete = False
    if not is_complete or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(expected)
    return value


def _require_names(names: tuple[str, ...]) -> tuple[str, ...]:
    # Not `min_length`, which would also complain where a name is wrong.
    if not names:
        raise ValueError("expected the name of at least one backbone")
    return names


Address = Annotated[str, AfterValidator(normalise)]
OptionalAddress = Annotated[str, AfterValidator(lambda value: value and normalise(value))]
EncodingName = Annotated[str, AfterValidator(_check_encoding)]
WeightsSource = Annotated[str, AfterValidator(_check_weights)]
# A secret, because such an address often holds a password or a token. The schema is for the chart.
SecretWebAddress = Annotated[
    SecretStr,
    AfterValidator(_check_web_address),
    WithJsonSchema({"type": "string", "pattern": "^(https?://.+)?$"}),
]
LocalFolder = Annotated[Path, AfterValidator(_expand_home)]
BackboneName = Annotated[str, AfterValidator(_check_backbone_or_auto)]
CandidateNames = Annotated[
    tuple[Annotated[str, AfterValidator(_check_backbone)], ...], AfterValidator(_require_names)
]


class Group(BaseModel):
    """Settings that share a prefix."""

    # Without protected namespaces: a field may be called `model_…`.
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=()
    )

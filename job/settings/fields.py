"""What the fields of the settings are made of: their effect on the model, and their types with the checks."""

import difflib
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from job.catalogue import BACKBONES

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Formats = tuple[Literal["saved_model", "keras", "onnx", "litert"], ...]
Metric = Literal["accuracy", "balanced_accuracy", "macro_f1"]
ImageFit = Literal["letterbox", "crop", "squash"]
Pooling = Literal["avg", "max", "flatten"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
DtypePolicy = Literal["float32", "mixed_bfloat16", "mixed_float16"]
SplitName = Literal["train", "val", "test"]
TransferMode = Literal["none", "part", "all"]


def shapes(default: Any = ..., **constraints: Any) -> Any:
    """A field that decides which model comes out: part of the run's identity."""
    return Field(default, json_schema_extra={"effect": "shapes"}, **constraints)


def runs(default: Any = ..., **constraints: Any) -> Any:
    """A field that only says how the work is done: not part of the run's identity."""
    return Field(default, json_schema_extra={"effect": "runs"}, **constraints)


def _address(value: str) -> str:
    if not re.match(r"(s3://[^/]|file:///)", value):
        raise ValueError("expected s3://bucket/prefix or file:///folder")
    return value


def _optional_address(value: str) -> str:
    return _address(value) if value else value


def _weights(value: str) -> str:
    if value not in ("imagenet", "none"):
        try:
            _address(value.removeprefix("release:"))
        except ValueError as error:
            raise ValueError(
                "expected imagenet, none, the URI of a file (s3://, file:///) or release:<uri>"
            ) from error
    return value


def _backbone(value: str) -> str:
    if value not in BACKBONES:
        raise ValueError(f"no such backbone; the nearest is {nearest(value, BACKBONES)}")
    return value


def nearest(word: str, words: Iterable[str]) -> str:
    """The known word that was probably meant."""
    return difflib.get_close_matches(word, list(words), n=1, cutoff=0)[0]


def comma_separated(value: Any) -> Any:
    """The parts of a text that commas separate."""
    return (
        tuple(filter(None, (part.strip() for part in value.split(","))))
        if isinstance(value, str)
        else value
    )


Address = Annotated[str, AfterValidator(_address)]
OptionalAddress = Annotated[str, AfterValidator(_optional_address)]
WeightsSource = Annotated[str, AfterValidator(_weights)]
BackboneName = Annotated[str, AfterValidator(_backbone)]


class Group(BaseModel):
    """Settings that share a prefix."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=()
    )

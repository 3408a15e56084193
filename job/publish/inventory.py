"""dataset.json: which image was in which split, by content, so that a later run can judge this model fairly."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from job.errors import ReleaseError

if TYPE_CHECKING:
    from job.audit import Splits

NAME = "dataset.json"
SPLITS = ("train", "val", "test")


def inventory(splits: "Splits") -> bytes:
    """The content of dataset.json. No names and no addresses: the same images give the same bytes wherever they lie."""
    images = sorted(
        (example.sha256, splits.classes[example.label], split)
        for split in SPLITS
        for example in getattr(splits, split)
    )
    rows = [{"sha256": sha256, "label": label, "split": split} for sha256, label, split in images]
    return json.dumps({"schema": 1, "images": rows}, indent=0, ensure_ascii=False).encode() + b"\n"


def learnt_from(raw: bytes) -> frozenset[str]:
    """The SHA-256 of each image that the release's training saw, in train or in val.

    Raises:
        ReleaseError: the content is no inventory.
    """
    try:
        return frozenset(_learnt_from(raw))
    except (ValueError, KeyError, TypeError) as error:
        raise ReleaseError(
            f"{NAME} of the release is not readable: {error!r}.", "Promote an intact release."
        ) from error


def _learnt_from(raw: bytes) -> Iterator[str]:
    for image in json.loads(raw)["images"]:
        if image["split"] != "test":
            yield image["sha256"]

"""dataset.json: which image was in which split, by content, so that later comparisons are fair."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from job import strict_json
from job.errors import ReleaseError

if TYPE_CHECKING:
    from job.audit import Splits

INVENTORY = "dataset.json"


def compose_inventory(splits: "Splits") -> bytes:
    """The content of dataset.json.

    It holds no names and no addresses: the same images give the same bytes, wherever they are
    stored.
    """
    rows = []
    for split, examples in (("train", splits.train), ("val", splits.val), ("test", splits.test)):
        for example in examples:
            label = splits.classes[example.label]
            rows.append({"sha256": example.sha256, "label": label, "split": split})
    rows.sort(key=lambda row: (row["sha256"], row["label"], row["split"]))
    return json.dumps({"schema": 1, "images": rows}, indent=0, ensure_ascii=False).encode() + b"\n"


def list_learnt_images(raw: bytes) -> frozenset[str]:
    """The SHA-256 of each image that the release's training saw, in train or in val.

    Args:
        raw: the content of dataset.json.

    Raises:
        ReleaseError: the content is not an inventory.
    """
    return frozenset(image["sha256"] for image in _parse_inventory(raw) if image["split"] != "test")


def find_commonest_class(raw: bytes, classes: Sequence[str]) -> int | None:
    """The class with most training images, as an index. Among equal ones it is the first.

    Args:
        raw: the content of dataset.json.
        classes: of the release, in the order of its outputs.

    Returns:
        None if no image was trained on.

    Raises:
        ReleaseError: the content is not an inventory.
    """
    counts = Counter(image["label"] for image in _parse_inventory(raw) if image["split"] == "train")
    if not counts:
        return None
    return max(range(len(classes)), key=lambda index: counts[classes[index]])


def _parse_inventory(raw: bytes) -> list[dict[str, str]]:
    """One row for each image: sha256, label and split."""
    try:
        rows = []
        for image in strict_json.parse(raw)["images"]:
            row = {name: image[name] for name in ("sha256", "label", "split")}
            if not all(isinstance(value, str) for value in row.values()):
                raise TypeError(f"{row} holds something else than text")
            rows.append(row)
        return rows
    except (ValueError, KeyError, TypeError) as error:
        raise ReleaseError(
            f"{INVENTORY} of the release is not readable: {error!r}.", "Promote an intact release."
        ) from error

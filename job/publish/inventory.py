"""dataset.json: which image was in which split, by content, so that later comparisons are fair."""

import json
from typing import TYPE_CHECKING

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
    try:
        images = json.loads(raw)["images"]
        return frozenset(image["sha256"] for image in images if image["split"] != "test")
    except (ValueError, KeyError, TypeError) as error:
        raise ReleaseError(
            f"{INVENTORY} of the release is not readable: {error!r}.", "Promote an intact release."
        ) from error

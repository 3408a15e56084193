"""dataset.json: which image was in which split, by content, so that later comparisons are fair."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from job import strict_json
from job.dataset import DIGEST_BYTES
from job.errors import ReleaseError, StoreNotFound
from job.storage import Store

if TYPE_CHECKING:
    from job.audit import Splits
    from job.dataset import Record

INVENTORY = "dataset.json"
# Digests of the listed objects. In `logs`, because another store has other ones for equal images.
SEEN_OBJECTS = "logs/objects.bin"


def compose_inventory(splits: "Splits", records: "Iterable[Record]" = ()) -> bytes:
    """The content of dataset.json.

    It holds no names and no addresses: the same images give the same bytes, wherever they are
    stored.

    Args:
        splits: the images that are used.
        records: all images of the data set. Those that are not used are listed apart, so that a
            later run does not take them for new ones.
    """
    rows = []
    for split, examples in (("train", splits.train), ("val", splits.val), ("test", splits.test)):
        for example in examples:
            label = splits.classes[example.label]
            rows.append({"sha256": example.sha256, "label": label, "split": split})
    rows.sort(key=lambda row: (row["sha256"], row["label"], row["split"]))
    content: dict[str, Any] = {"schema": 1, "images": rows}
    used = {(row["sha256"], row["label"]) for row in rows}
    if unused := sorted({(each.sha256, each.label) for each in records} - used):
        content["unused"] = [{"sha256": sha256, "label": label} for sha256, label in unused]
    return json.dumps(content, indent=0, ensure_ascii=False).encode() + b"\n"


def list_known_images(raw: bytes) -> frozenset[tuple[str, str]]:
    """The SHA-256 and the label of each image that the release's run saw, used or not.

    Releases of earlier versions list only those that were used.

    Args:
        raw: the content of dataset.json.

    Raises:
        ReleaseError: the content is not an inventory.
    """
    rows = [*_parse_rows(raw, "images"), *_parse_rows(raw, "unused")]
    return frozenset((row["sha256"], row["label"]) for row in rows)


def list_used_images(raw: bytes) -> frozenset[tuple[str, str]]:
    """The SHA-256 and the label of each image that is in a split of the release.

    Args:
        raw: the content of dataset.json.

    Raises:
        ReleaseError: the content is not an inventory.
    """
    return frozenset((row["sha256"], row["label"]) for row in _parse_rows(raw, "images"))


def list_learnt_images(raw: bytes) -> frozenset[str]:
    """The SHA-256 of each image that the release's training saw, in train or in val.

    Args:
        raw: the content of dataset.json.

    Raises:
        ReleaseError: the content is not an inventory.
    """
    return frozenset(image["sha256"] for image in _parse_inventory(raw) if image["split"] != "test")


def read_seen_objects(release: Store) -> frozenset[bytes] | None:
    """The digests of the objects that the run of a release has listed.

    None if the release does not say, or has read archives.
    """
    try:
        raw = release.read(SEEN_OBJECTS)
    except StoreNotFound:
        return None
    if not raw or len(raw) % DIGEST_BYTES:
        return None
    return frozenset(raw[at : at + DIGEST_BYTES] for at in range(0, len(raw), DIGEST_BYTES))


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
    """One row for each used image: sha256, label and split."""
    return _parse_rows(raw, "images", "split")


def _parse_rows(raw: bytes, field: str, *more: str) -> list[dict[str, str]]:
    """One row for each image of a list of dataset.json: sha256, label and `more`."""
    try:
        rows = []
        fields = strict_json.parse(raw)
        listed = fields[field] if field == "images" else fields.get(field, [])
        for image in listed:
            row = {name: image[name] for name in ("sha256", "label", *more)}
            if not all(isinstance(value, str) for value in row.values()):
                raise TypeError(f"{row} holds something else than text")
            rows.append(row)
        return rows
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReleaseError(
            f"{INVENTORY} of the release is not readable: {error!r}.", "Promote an intact release."
        ) from error

"""`.keras`: the model for those who carry on in Keras; it loads without any code of ours."""

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from job.errors import ReleaseError
from job.export.export_input import ExportInput
from job.export.reference import classify

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold
DATE_SAVED = "1980-01-01@00:00:00"


def write(subject: ExportInput, path: Path) -> None:
    """Save, and repack without times and addresses.

    Raises:
        ReleaseError: a layer is not Keras's own.
    """
    fresh = path.with_suffix(".fresh.keras")
    subject.model.save(fresh)
    with zipfile.ZipFile(fresh) as archive:
        members = {name: archive.read(name) for name in sorted(archive.namelist())}
    fresh.unlink()
    config = json.loads(members["config.json"])
    _require_plain(config)
    _renumber(config, {})
    members["config.json"] = json.dumps(config).encode()
    metadata = json.loads(members["metadata.json"]) | {"date_saved": DATE_SAVED}
    members["metadata.json"] = json.dumps(metadata).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH), content)


def run(subject: ExportInput, path: Path) -> npt.NDArray[np.float32]:
    """The loaded model's probabilities for the pixels, [batch, classes]."""
    return classify(keras.models.load_model(path, compile=False), subject.pixels)


def _require_plain(config: dict[str, Any]) -> None:
    foreign = sorted(_foreign_classes(config))
    if foreign:
        raise ReleaseError(
            f"The keras export needs custom objects to load: {', '.join(foreign)}; expected Keras's own layers alone.",
            "Build the model from Keras's layers.",
        )


def _renumber(node: Any, seen: dict[int, int]) -> None:
    """Number shared objects as they come: Keras writes their addresses in memory, which no two processes share."""
    for child in (
        node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    ):
        _renumber(child, seen)
    if isinstance(node, dict) and "shared_object_id" in node:
        node["shared_object_id"] = seen.setdefault(node["shared_object_id"], len(seen))


def _foreign_classes(node: Any) -> set[str]:
    """Names of the classes in a serialised configuration that do not come from Keras."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    found = set().union(*map(_foreign_classes, children))
    if isinstance(node, dict) and "module" in node and "class_name" in node:
        module = (node["module"] or "").split(".")[0]
        if module not in ("keras", "builtins") or node.get("registered_name") not in (
            None,
            node["class_name"],
        ):
            found.add(str(node["class_name"]))
    return found

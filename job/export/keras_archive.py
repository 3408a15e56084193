"""Write `.keras`, for those who continue in Keras. It loads without any code of ours."""

import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras

from job.errors import ReleaseError
from job.export.export_input import Classify, ExportInput, trace_pixels

# The earliest time that a zip can hold, for every member and for Keras's own note of the time.
EPOCH = (1980, 1, 1, 0, 0, 0)
DATE_SAVED = "1980-01-01@00:00:00"


def prepare(export_input: ExportInput) -> Callable[[Path], None]:
    """Returns what writes the model, for which nothing is traced."""
    return lambda path: write(export_input, path)


def write(export_input: ExportInput, path: Path) -> None:
    """Save with Keras, and repack without times and memory addresses.

    Raises:
        ReleaseError: a layer is not Keras's own.
    """
    # Keras insists on the ending .keras.
    fresh = path.with_suffix(".fresh.keras")
    export_input.model.save(fresh)
    members = {}
    with zipfile.ZipFile(fresh) as archive:
        for name in sorted(archive.namelist()):
            members[name] = archive.read(name)
    fresh.unlink()

    config = json.loads(members["config.json"])
    foreign = sorted(_find_foreign_classes(config))
    if foreign:
        raise ReleaseError(
            f"The keras export needs custom objects to load: {', '.join(foreign)}; "
            "expected only Keras's own layers.",
            "Build the model from Keras's layers.",
        )
    _renumber_shared_objects(config, {})
    members["config.json"] = json.dumps(config).encode()
    metadata = json.loads(members["metadata.json"])
    metadata["date_saved"] = DATE_SAVED
    members["metadata.json"] = json.dumps(metadata).encode()

    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            # Named alone, a member would get the time of now.
            member = zipfile.ZipInfo(name, EPOCH)
            archive.writestr(member, content)


def load(path: Path) -> Classify:
    """Load the written model. Returns what computes its probabilities, [batch, classes]."""
    return trace_pixels(keras.models.load_model(path, compile=False))


def _renumber_shared_objects(node: Any, numbers: dict[int, int]) -> None:
    """Number shared objects in the order in which they occur.

    Keras writes their addresses in memory, which differ from process to process.
    """
    for child in _list_children(node):
        _renumber_shared_objects(child, numbers)
    if isinstance(node, dict) and "shared_object_id" in node:
        address = node["shared_object_id"]
        node["shared_object_id"] = numbers.setdefault(address, len(numbers))


def _find_foreign_classes(node: Any) -> set[str]:
    """Find the classes in a serialised configuration that do not come from Keras."""
    found: set[str] = set()
    for child in _list_children(node):
        found |= _find_foreign_classes(child)
    if isinstance(node, dict) and "module" in node and "class_name" in node:
        name = node["class_name"]
        module = node["module"] or ""
        package, _, _ = module.partition(".")
        # Keras's own classes are registered by their plain names or not at all. A class of ours
        # that is registered for serialisation has its package in front: `graft>Ours`.
        is_registered_elsewhere = node.get("registered_name") not in (None, name)
        if package not in ("keras", "builtins") or is_registered_elsewhere:
            found.add(str(name))
    return found


def _list_children(node: Any) -> Iterable[Any]:
    """List the values of a JSON object or array; other values have none."""
    if isinstance(node, dict):
        return node.values()
    if isinstance(node, list):
        return node
    return ()

"""Objects of certain tools, made as flat as those of everybody else.

- Vertex AI: `imageGcsUri`, `classificationAnnotation.displayName`, and
  `dataItemResourceLabels["aiplatform.googleapis.com/ml_use"]`.
- SageMaker Ground Truth and Rekognition: `source-ref`, any attribute with a number, and beside it
  `<attribute>-metadata` with the `class-name`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from job.dataset.image_manifest.table import TableRow

METADATA = "-metadata"
ONE_LABEL_TYPE = "groundtruth/image-classification"
ANNOTATIONS = ("classificationAnnotation", "classificationAnnotations")
ML_USES = ("aiplatform.googleapis.com/ml_use", "ml_use")


@dataclass(frozen=True, slots=True)
class ToolShape:
    """What the rows turned out to be: see `Table`."""

    label_columns: tuple[str, ...]
    notes: tuple[str, ...]


def flatten(rows: Iterable[TableRow]) -> tuple[list[TableRow], ToolShape]:
    """The rows with one cell for each label and split."""
    flat = [replace(row, cells=_flatten_vertex(row.cells)) for row in rows]
    attributes: dict[str, None] = {}
    for row in flat:
        for key, value in row.cells.items():
            if key.endswith(METADATA) and _describes_one_label(value):
                attributes[key.removesuffix(METADATA)] = None

    notes = []
    for attribute in attributes:
        # Some rows with a name and others with a number would be classes of both kinds.
        if all(_find_class_name(row, attribute) for row in flat if not row.problem):
            flat = [_name_class(row, attribute) for row in flat]
            notes.append(f"the labels are the class-name in {attribute}{METADATA}, not the numbers")
    return flat, ToolShape(tuple(attributes), tuple(notes))


def _flatten_vertex(cells: Mapping[str, Any]) -> Mapping[str, Any]:
    flat = dict(cells)
    for key in ANNOTATIONS:
        match cells.get(key):
            case {"displayName": name}:
                flat.setdefault("label", name)
            case [*annotations]:
                names = [
                    entry.get("displayName") for entry in annotations if isinstance(entry, dict)
                ]
                flat.setdefault("label", names)
    labels = cells.get("dataItemResourceLabels")
    if isinstance(labels, dict):
        for key in ML_USES:
            if key in labels:
                flat.setdefault("split", labels[key])
    return flat


def _describes_one_label(metadata: Any) -> bool:
    if not isinstance(metadata, dict):
        return False
    return "class-name" in metadata or metadata.get("type") == ONE_LABEL_TYPE


def _find_class_name(row: TableRow, attribute: str) -> Any:
    metadata = row.cells.get(attribute + METADATA)
    return metadata.get("class-name") if isinstance(metadata, dict) else None


def _name_class(row: TableRow, attribute: str) -> TableRow:
    name = _find_class_name(row, attribute)
    return replace(row, cells={**row.cells, attribute: name}) if name else row

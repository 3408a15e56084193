"""Tables without a heading line, as some tools write them: known by their first row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from job.dataset.image_manifest.headings import looks_like_image
from job.dataset.image_manifest.labels import is_split_word
from job.settings import DatasetSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadlessShape:
    """The columns of a table that does not name them."""

    separator: str
    header: tuple[str, ...]
    note: str
    has_number_labels: bool = False


def recognize(
    name: str, first_rows: Mapping[str, Sequence[str]], dataset: DatasetSettings
) -> HeadlessShape | None:
    """The shape of a table without a heading line, or None where its first row is a heading.

    Args:
        name: of the file: `.lst` files never have a heading.
        first_rows: the cells of the first row, by each separator that may be meant.
        dataset: may give the columns by their places, from 1.
    """
    for separator, first_row in first_rows.items():
        if name.lower().endswith(".lst") and separator not in ("\t", " "):
            continue
        cells = _drop_empty_end(first_row)
        places = _find_given_places(cells, dataset) or _find_places(cells)
        if not places:
            continue
        header = [str(place) for place in range(1, len(cells) + 1)]
        told = []
        for column, place in places.items():
            header[place] = column
            told.append(f"{column} is column {place + 1}")
        is_list = set(places) == {"index", "label", "image"}
        return HeadlessShape(
            separator=separator,
            header=tuple(header),
            note=f"there is no heading line: {', '.join(told)}",
            has_number_labels=is_list,
        )
    return None


def _drop_empty_end(cells: Sequence[str]) -> Sequence[str]:
    """The cells without those that spreadsheets fill a row with."""
    num_cells = len(cells)
    while num_cells and not cells[num_cells - 1].strip():
        num_cells -= 1
    return cells[:num_cells]


def _find_given_places(cells: Sequence[str], dataset: DatasetSettings) -> dict[str, int]:
    """The places that the settings give as numbers, from 0."""
    given = {"image": dataset.image_column, "label": dataset.label_column}
    places = {}
    for column, place in given.items():
        headings = [cell.strip() for cell in cells]
        if place.isdecimal() and place not in headings and 1 <= int(place) <= len(cells):
            places[column] = int(place) - 1
    return places if len(places) == len(given) else {}


def _find_places(cells: Sequence[str]) -> dict[str, int]:
    """The places of the columns, from 0, if this is the row of a known tool."""
    images = [place for place, cell in enumerate(cells) if looks_like_image(cell)]
    if len(images) != 1:
        return {}
    match [cell.strip() for cell in cells]:
        case [_, _]:
            # Either order, as in lists of classes and in those of Keras.
            return {"image": images[0], "label": 1 - images[0]}
        # Vertex AI and AutoML: which part, which file, which label.
        case [split, _, _] if images == [1] and is_split_word(split):
            return {"split": 0, "image": 1, "label": 2}
        # SageMaker and MXNet: an index, the number of the class, the file.
        case [index, label, _] if images == [2] and _is_number(index) and _is_number(label):
            return {"index": 0, "label": 1, "image": 2}
    return {}


def _is_number(cell: str) -> bool:
    return cell.replace(".", "", 1).isdecimal()

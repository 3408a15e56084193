"""Names of files -> what each image is: its class and, where one is given, its part of the split.

Two layouts: `class/…/image`, and `train|val|test/class/…/image` when every folder at the top is a
part of a split. Folders below the class folder do not matter. Nothing is opened: a file is no image
only if its name says so.
"""

import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from job.dataset.names import UNPRINTABLE, first_names, printable
from job.errors import DatasetError
from job.settings import SplitName

SPLITS: Mapping[str, SplitName] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}
# Files that lie beside images in the wild. All other files, whatever their extension, are left to
# the decoder. fmt: off
NOT_IMAGES = frozenset(
    (
        "7z",
        "cfg",
        "css",
        "csv",
        "db",
        "doc",
        "docx",
        "gz",
        "htm",
        "html",
        "ini",
        "ipynb",
        "js",
        "json",
        "jsonl",
        "log",
        "mat",
        "md",
        "npy",
        "npz",
        "parquet",
        "pdf",
        "pkl",
        "py",
        "rtf",
        "sh",
        "sha256",
        "sqlite",
        "tar",
        "tfrecord",
        "tgz",
        "toml",
        "tsv",
        "txt",
        "xls",
        "xlsx",
        "xml",
        "yaml",
        "yml",
        "zip",
    )
)
# fmt: on
EXPECTED = (
    "Expected <class>/<image>, or train|val|test/<class>/<image>, or a manifest (.csv, .jsonl). Put each image into a "
    "folder named after its class."
)


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of an image before it is opened. `split` is None where none is given."""

    label: str
    split: SplitName | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """`places` by the name that was given; `ignored` are the names that are no images of any class."""

    places: Mapping[str, Place]
    ignored: tuple[str, ...]


def read(names: Collection[str], *, wrapped: bool = False) -> Layout:
    """Find the class of each file by its folders.

    `train` alone is a split without its other parts; those are carved out of it later. With
    `wrapped`, a single folder around everything is stepped into, as archives have one by
    convention.

    Raises:
        DatasetError: no file lies in a class folder, the folders at the top are part split and part
        class, or a class
            has an unprintable name.
    """
    steps = {name: path for name in names if (path := _image_path(name))}
    if wrapped:
        steps = _unwrapped(steps)
    depth = 1 if _is_split({path[0] for path in steps.values() if len(path) > 1}) else 0
    places = {name: _place(path, depth) for name, path in steps.items() if len(path) > depth + 1}
    require_classes(places, names)
    return Layout(places, tuple(sorted(name for name in names if name not in places)))


def require_classes(places: Mapping[str, Place], names: Collection[str]) -> None:
    """Refuse what cannot be learnt from whatever the images look like.

    Raises:
        DatasetError: no image at all, no training image, or a class with an unprintable name.
    """
    if not places:
        found = "; ".join(first_names(sorted(names))) or "nothing"
        raise DatasetError(f"No image lies in a class folder. Found: {found}.", EXPECTED)
    if unprintable := sorted(
        {place.label for place in places.values() if UNPRINTABLE.search(place.label)}
    ):
        raise DatasetError(
            "Names of classes must be printable text:",
            "Rename these classes.",
            first_names([ascii(x) for x in unprintable]),
        )
    if (splits := {place.split for place in places.values()}).isdisjoint({"train", None}):
        given = ", ".join(sorted(filter(None, splits)))
        raise DatasetError(
            f"The split has images in {given} but none in train.",
            "Add a train part, or give no split.",
        )


def _image_path(name: str) -> tuple[str, ...]:
    """The folders and the file name; empty if the file is hidden or clearly no image."""
    path = tuple(filter(None, name.split("/")))
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path)
    extension = path[-1].lower().rpartition(".")[2] if path and "." in path[-1] else ""
    return () if hidden or extension in NOT_IMAGES else path


def _unwrapped(steps: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    folders = {path[0] for path in steps.values() if len(path) > 1}
    inner = any(len(path) > 2 for path in steps.values())
    if len(folders) != 1 or not inner or next(iter(folders)).lower() in SPLITS:
        return steps
    return {name: path[1:] for name, path in steps.items() if len(path) > 1}


def _is_split(folders: set[str]) -> bool:
    """Whether the folders at the top are parts of a split; a class may well be called `test` among others."""
    parts = {folder for folder in folders if folder.lower() in SPLITS}
    kinds = {SPLITS[folder.lower()] for folder in parts}
    if folders == parts:
        return bool(parts)
    if "train" in kinds and len(kinds) > 1:
        others = "; ".join(first_names(sorted(folders - parts)))
        raise DatasetError(
            f"The top folders are a split ({', '.join(sorted(map(printable, parts)))}) beside others: {others}.",
            "Move the other folders elsewhere, or rename the classes that are called like a split.",
        )
    return False


def _place(path: tuple[str, ...], depth: int) -> Place:
    split = SPLITS[path[0].lower()] if depth else None
    return Place(unicodedata.normalize("NFC", path[depth]), split)

"""From the names of files to what each image is: its class and, where one is given, its split.

Two layouts: `class/…/image`, and `train|val|test/class/…/image` when every folder at the top is a
part of a split. Folders below the class folder do not matter. Nothing is opened: only a name can
say that a file is not an image.
"""

import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from job.dataset.names import UNPRINTABLE, first_names, printable
from job.errors import DatasetError
from job.settings import SplitName

# Names of folders and cells that mean a part of a split, in lower case.
SPLITS: Mapping[str, SplitName] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}

# Extensions of files that occur beside images. All other files are left to the decoder.
# One line per kind, which the formatter would take apart. fmt: off
NOT_IMAGES = frozenset(
    (
        "7z",
        "gz",
        "tar",
        "tgz",
        "zip",
        "csv",
        "json",
        "jsonl",
        "toml",
        "tsv",
        "xml",
        "yaml",
        "yml",
        "db",
        "mat",
        "npy",
        "npz",
        "parquet",
        "pkl",
        "sqlite",
        "tfrecord",
        "cfg",
        "ini",
        "log",
        "md",
        "sha256",
        "txt",
        "css",
        "htm",
        "html",
        "ipynb",
        "js",
        "py",
        "sh",
        "doc",
        "docx",
        "pdf",
        "rtf",
        "xls",
        "xlsx",
    )
)
# fmt: on
EXPECTED = (
    "Expected <class>/<image>, or train|val|test/<class>/<image>, or a manifest (.csv, .jsonl). "
    "Put each image into a folder named after its class."
)


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of an image before it is opened. `split` is None where none is given."""

    label: str
    split: SplitName | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """`places` by the given name. `ignored` are the names that are not images of a class."""

    places: Mapping[str, Place]
    ignored: tuple[str, ...]


def read(names: Collection[str], *, wrapped: bool = False) -> Layout:
    """Find the class of each file by its folders.

    `train` alone is a split without its other parts, which are carved out of it later. With
    `wrapped`, a single folder around everything is stepped into, since archives have one by
    convention.

    Raises:
        DatasetError: no file is in a class folder, the folders at the top are part split and part
            class, or a class has an unprintable name.
    """
    paths = {}
    for name in names:
        path = tuple(filter(None, name.split("/")))
        # macOS adds `__MACOSX` to its archives, with a shadow of each file.
        is_hidden = any(part.startswith(".") or part == "__MACOSX" for part in path)
        if is_hidden or not path:
            continue
        _, _, extension = path[-1].lower().rpartition(".")
        has_extension = "." in path[-1]
        if has_extension and extension in NOT_IMAGES:
            continue
        paths[name] = path
    if wrapped:
        paths = _unwrap_folder(paths)

    depth = 1 if _is_split(_top_folders(paths)) else 0
    places = {}
    for name, path in paths.items():
        # A file beside the class folders has no class.
        if len(path) <= depth + 1:
            continue
        # One spelling, because file systems differ in how they write an accent.
        label = unicodedata.normalize("NFC", path[depth])
        split = SPLITS[path[0].lower()] if depth else None
        places[name] = Place(label, split)
    require_classes(places, names)

    ignored = sorted(set(names) - set(places))
    return Layout(places, tuple(ignored))


def require_classes(places: Mapping[str, Place], names: Collection[str]) -> None:
    """Refuse what cannot be learnt from, whatever the images look like.

    Raises:
        DatasetError: no image at all, no training image, or a class with an unprintable name.
    """
    if not places:
        found = "; ".join(first_names(sorted(names))) or "nothing"
        raise DatasetError(f"No image is in a class folder. Found: {found}.", EXPECTED)

    labels = set()
    splits = set()
    for place in places.values():
        labels.add(place.label)
        splits.add(place.split)

    unprintable = list(map(ascii, filter(UNPRINTABLE.search, sorted(labels))))
    if unprintable:
        raise DatasetError(
            "Names of classes must be printable text:",
            "Rename these classes.",
            first_names(unprintable),
        )

    # Images without a split count as train.
    if splits.isdisjoint({"train", None}):
        given = ", ".join(sorted(filter(None, splits)))
        raise DatasetError(
            f"The split has images in {given} but none in train.",
            "Add a train part, or give no split.",
        )


def _top_folders(paths: Mapping[str, tuple[str, ...]]) -> set[str]:
    return {path[0] for path in paths.values() if len(path) > 1}


def _unwrap_folder(paths: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The paths without the one folder around everything, if there is one."""
    folders = _top_folders(paths)
    # Without folders inside, the one folder is a class. If it is called `train`, it is a split.
    has_inner_folders = any(len(path) > 2 for path in paths.values())
    is_split = folders == _find_split_folders(folders)
    if len(folders) != 1 or not has_inner_folders or is_split:
        return paths
    return {name: path[1:] for name, path in paths.items() if len(path) > 1}


def _find_split_folders(folders: set[str]) -> set[str]:
    return {folder for folder in folders if folder.lower() in SPLITS}


def _is_split(folders: set[str]) -> bool:
    """Whether the folders at the top are parts of a split.

    A single class may be called `test` among others. `train` and a second part make a split.
    """
    parts = _find_split_folders(folders)
    if folders == parts:
        return bool(parts)
    kinds = {SPLITS[folder.lower()] for folder in parts}
    if "train" in kinds and len(kinds) > 1:
        given = ", ".join(sorted(map(printable, parts)))
        others = "; ".join(first_names(sorted(folders - parts)))
        raise DatasetError(
            f"The top folders are a split ({given}) beside others: {others}.",
            "Move the other folders elsewhere, or rename the classes that are called like a split.",
        )
    return False

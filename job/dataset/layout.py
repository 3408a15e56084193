"""From the names of files to what each image is: its class and, where one is given, its split.

Two layouts: `class/…/image`, and `train|val|test/class/…/image`. Either may be in other folders.
Folders below the class folder do not matter. Nothing is opened: only a name can say that a file is
not an image.
"""

import logging
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from job.dataset.class_layer import assign_by_depth, find_classes
from job.dataset.companions import drop_companions
from job.dataset.names import UNPRINTABLE, first_names
from job.dataset.splits import AmbiguousLayoutError
from job.dataset.system_files import SYSTEM_FILE, is_system_folder
from job.errors import DatasetError
from job.plurals import format_count
from job.settings import SplitName

logger = logging.getLogger(__name__)

# Dashes and quotes of word processors, as they are on a keyboard.
PLAIN_MARKS = {
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-"),
    **dict.fromkeys(map(ord, "\u2018\u2019\u02bc`"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d"), '"'),
}
# Extensions of files that occur beside images. All other files are left to the decoder.
# One line per kind, which the formatter would take apart. fmt: off
NOT_IMAGES = frozenset(
    (
        "7z",
        "bz2",
        "gz",
        "rar",
        "tar",
        "tbz",
        "tbz2",
        "tgz",
        "txz",
        "tzst",
        "xz",
        "zip",
        "zst",
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
        "h5",
        "keras",
        "onnx",
        "pb",
        "pt",
        "pth",
        "tflite",
        "tfrec",
        "aae",
        "lnk",
        "thm",
        "url",
        "xmp",
    )
)
# fmt: on
# How tables of images and labels end.
TABLE_SUFFIXES = (".csv", ".tsv", ".lst", ".jsonl", ".manifest")
# An error lists so many folders, and so many depths of them.
LISTED_FOLDERS = 8
LISTED_DEPTHS = 4
EXPECTED = (
    "Expected <class>/<image>, or train|val|test/<class>/<image>, or a manifest (.csv, .jsonl). "
    "Put each image into a folder named after its class, or say with GRAFT_DATASET_CLASS_DEPTH "
    "which folder of each path is the class."
)


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of an image before it is opened. `split` is None where none is given."""

    label: str
    split: SplitName | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """`places` by the given name. `ignored` are the names that are not images of a class.

    `notes` say what was read into the names of folders, one clause each.
    """

    places: Mapping[str, Place]
    ignored: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read(names: Collection[str], class_depth: int | None = None) -> Layout:
    """Find the class of each file by its folders.

    A folder around everything is stepped into. `train` alone is a split without its other parts,
    which are carved out of it later.

    Args:
        names: relative paths with `/`.
        class_depth: which folder of each path is the class, counted from 1. None finds it out.

    Raises:
        DatasetError: no file is in a class folder, the folders can be read in several ways, or the
            names of classes are unprintable or too much alike.
    """
    notes: list[str] = []
    paths = drop_companions(_find_image_paths(names), class_depth, notes)
    try:
        if class_depth is None:
            assigned = find_classes(paths, notes)
        else:
            assigned = assign_by_depth(paths, class_depth)
    except AmbiguousLayoutError as error:
        raise DatasetError(
            f"The folders do not say what the classes are: {error}. Found:",
            _suggest_depths(paths) + _suggest_tables(names),
            describe_folders(paths),
        ) from error

    places = {}
    spellings = set()
    for name in paths:
        # A file beside the class folders has no class.
        if name in assigned:
            label, split = assigned[name]
            spellings.add(label)
            # One spelling, because file systems differ in how they write an accent.
            places[name] = Place(unicodedata.normalize("NFC", label), split)
    require_distinct_spellings(spellings)
    require_classes(places, names)

    ignored = sorted(set(names) - set(places))
    return Layout(places, tuple(ignored), tuple(notes))


def log_notes(found: Layout) -> None:
    """Say in the log what was read into the names of folders."""
    if found.notes:
        logger.warning("the folders were read so: %s", "; ".join(found.notes))


def is_hidden(name: str) -> bool:
    """Whether a file or a folder around it is hidden, or made by a system."""
    path = tuple(filter(None, name.split("/")))
    return not path or any(map(is_system_folder, path)) or SYSTEM_FILE.search(path[-1]) is not None


def has_images(names: Iterable[str]) -> bool:
    """Whether any of the files may be an image."""
    return bool(_find_image_paths(names))


def _find_image_paths(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The folders and the name of each file that may be an image."""
    paths = {}
    for name in names:
        if is_hidden(name):
            continue
        path = tuple(filter(None, name.split("/")))
        _, dot, extension = path[-1].lower().rpartition(".")
        if dot and extension in NOT_IMAGES:
            continue
        paths[name] = path
    return paths


def describe_folders(paths: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The folders with the number of files in each, for a message."""
    counts = Counter("/".join(path[:-1]) for path in paths.values())
    lines = []
    for folder in sorted(counts):
        lines.append(f"{folder or '.'}/ with {format_count(counts[folder], 'file')}")
    return first_names(lines, LISTED_FOLDERS)


def _suggest_depths(paths: Mapping[str, tuple[str, ...]]) -> str:
    """What each value of the setting would take as classes."""
    choices = []
    deepest = max(len(path) for path in paths.values())
    for depth in range(1, min(deepest, LISTED_DEPTHS + 1)):
        labels = sorted({path[depth - 1] for path in paths.values() if len(path) > depth})
        choices.append(f"{depth} for {', '.join(first_names(labels, 3))}")
    return (
        f"Set GRAFT_DATASET_CLASS_DEPTH to say which folders are the classes "
        f"({'; '.join(choices)}), or give the folder around them as GRAFT_DATASET_URI."
    )


def _suggest_tables(names: Iterable[str]) -> str:
    """A sentence about the tables beside images, which may say the classes, or nothing."""
    tables = [name for name in names if name.lower().endswith(TABLE_SUFFIXES)]
    visible = sorted(name for name in tables if not is_hidden(name))
    if not visible:
        return ""
    listed = ", ".join(first_names(visible, 3))
    return f" If a table says the classes, give it as GRAFT_DATASET_URI: found {listed}."


def require_distinct_spellings(labels: Collection[str]) -> None:
    """Refuse classes whose names look alike: they are one class, written in several ways.

    Raises:
        DatasetError: names differ only in case, in blanks or underscores, in what is not seen, or
            in how Unicode writes a letter.
    """
    by_look = defaultdict(list)
    for label in sorted(labels):
        by_look[_describe_look(label)].append(label)
    alike = []
    for spellings in by_look.values():
        if len(spellings) > 1:
            # Not `repr`, which does not show how a letter is composed.
            alike.append(" and ".join(map(ascii, spellings)))
    if alike:
        raise DatasetError(
            "Names of classes differ only in case, blanks, dashes, quotes or Unicode form, or by "
            "underscores:",
            "Give each class one name.",
            first_names(alike),
        )


def _describe_look(label: str) -> str:
    """What names that look alike have in common."""
    plain = unicodedata.normalize("NFKC", label).casefold()
    # Case folding may undo the composition.
    plain = unicodedata.normalize("NFKC", plain)
    # Word processors write these in place of - and '.
    plain = plain.translate(PLAIN_MARKS)
    # Marks of direction, soft hyphens and the like are not seen.
    seen = "".join(letter for letter in plain if unicodedata.category(letter) != "Cf")
    # Windows drops dots at the end of a name.
    return " ".join(seen.replace("_", " ").split()).rstrip(".") or label


def require_classes(places: Mapping[str, Place], names: Collection[str]) -> None:
    """Refuse what cannot be learnt from, whatever the images look like.

    Raises:
        DatasetError: no image at all, no training image, a class with an unprintable name, or
            classes whose names look alike.
    """
    if not places:
        found = "; ".join(first_names(sorted(names))) or "nothing"
        cure = EXPECTED + _suggest_tables(names)
        raise DatasetError(f"No image is in a class folder. Found: {found}.", cure)

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

    require_distinct_spellings(labels)

    # Images without a split count as train.
    if splits.isdisjoint({"train", None}):
        given = ", ".join(sorted(filter(None, splits)))
        raise DatasetError(
            f"The split has images in {given} but none in train.",
            "Add a train part, or give no split.",
        )

"""Which folders of a tree are the classes: around them may be wrappers and a split.

Every function takes paths: by the name of each file, the names of the folders from some layer of
the tree on, and the file's own name last. What is read into names is noted for the log, and what
can be read in two ways is refused.
"""

from collections.abc import Mapping

from job.dataset.doubtful_layers import refuse_doubtful_classes, refuse_other_classes
from job.dataset.folder_names import (
    BESIDE,
    CONTAINERS,
    FILLERS,
    PARTS,
    PICTURES,
    UNLABELLED,
    UNNAMED,
    has_one_of,
    is_one_of,
    read_part_name,
    split_words,
)
from job.dataset.names import first_names, printable
from job.dataset.splits import AmbiguousLayoutError, find_parts
from job.dataset.tree import Paths, group_by_folder, holds_only_folders
from job.settings import SplitName

# The words in names of folders whose images have no class.
WITHOUT_CLASS = CONTAINERS | FILLERS | UNLABELLED | set(PARTS) | {"unknown", "all", "none"}
# Class and part of the split of a file.
Assignment = dict[str, tuple[str, SplitName | None]]


def find_classes(paths: Paths, notes: list[str]) -> Assignment:
    """The class folder of each file, and its part of a split. Files beside class folders have none.

    Raises:
        AmbiguousLayoutError: the folders can be read in several ways.
    """
    paths = _unwrap_folders(paths, notes)
    folders = group_by_folder(paths)
    parts = find_parts(folders)
    if not parts:
        turned = _read_split_in_classes(folders)
        if turned:
            notes.append("each class folder holds a split")
            return turned
        refuse_doubtful_classes(paths)
        _refuse_lone_part(folders)
        _note_deeper_folders(paths, notes)
        return {name: (path[0], None) for name, path in paths.items() if len(path) > 1}

    _note_split(folders, parts, notes)
    inner = _unwrap_parts({folder: folders[folder] for folder in parts}, parts, notes)
    merged: dict[str, tuple[str, ...]] = {}
    for below in inner.values():
        merged.update(below)
    refuse_doubtful_classes(merged)
    refuse_other_classes(inner, parts)
    _note_deeper_folders(merged, notes)
    assigned: Assignment = {}
    for folder, below in inner.items():
        for name, path in below.items():
            if len(path) > 1:
                assigned[name] = (path[0], parts[folder])
    return assigned


def _refuse_lone_part(folders: Mapping[str, Paths]) -> None:
    """Refuse a part of a split that has classes in it, beside folders that are no parts."""
    for folder, below in sorted(folders.items()):
        part = read_part_name(folder)
        if part and not part.rest and holds_only_folders(below):
            others = ", ".join(first_names(sorted(set(folders) - {folder})))
            raise AmbiguousLayoutError(
                f"{printable(folder)} is named like a part of a split and holds folders, beside "
                f"others: {others}"
            )


def _note_deeper_folders(paths: Paths, notes: list[str]) -> None:
    """Note classes that may be none: their images are in folders of their own, or they say nothing.

    The deeper folders could be the classes.
    """
    folders = sorted(group_by_folder(paths).items())
    doubtful = [folder for folder, _ in folders if is_one_of(folder, CONTAINERS | UNNAMED)]
    if doubtful:
        notes.append(f"took folders for classes: {', '.join(first_names(doubtful))}")
    found = []
    for folder, below in folders:
        names = set(group_by_folder(below)) - {folder}
        inner = sorted(name for name in names if not is_one_of(name, PICTURES))
        if inner and holds_only_folders(below):
            found.append(f"{printable(folder)} with {', '.join(first_names(inner))}")
    if found:
        notes.append(
            "took the upper folders as the classes, and not the folders in them: "
            f"{', '.join(first_names(found))} (GRAFT_DATASET_CLASS_DEPTH chooses)"
        )


def assign_by_depth(paths: Paths, depth: int) -> Assignment:
    """The class of each file where its folder has this depth, counted from 1.

    The part of the split is the folder around it that is named like one.
    """
    assigned: Assignment = {}
    splits: dict[tuple[str, ...], SplitName | None] = {}
    for name, path in paths.items():
        if len(path) <= depth:
            continue
        around = path[: depth - 1]
        if around not in splits:
            splits[around] = _find_split_around(around)
        assigned[name] = (path[depth - 1], splits[around])
    return assigned


def _find_split_around(folders: tuple[str, ...]) -> SplitName | None:
    """The part that the innermost folder means: one that says nothing else, if there is any."""
    parts = list(filter(None, map(read_part_name, reversed(folders))))
    # Sorting keeps the order of equals.
    parts.sort(key=lambda part: bool(part.rest))
    return parts[0].split if parts else None


def _unwrap_folders(paths: Paths, notes: list[str]) -> Paths:
    """The paths without the folders that hold everything, however many they are."""
    while True:
        folders = group_by_folder(paths)
        wrapper = _find_wrapper(folders)
        if wrapper is None:
            return paths
        left_out = sorted(map(printable, set(folders) - {wrapper}))
        beside = f", and left out what is beside it: {', '.join(left_out)}" if left_out else ""
        notes.append(f"stepped into the folder {printable(wrapper)}{beside}")
        paths = folders[wrapper]


def _find_wrapper(folders: Mapping[str, Paths]) -> str | None:
    """The one folder around all classes, or None."""
    candidates = list(folders)
    if len(candidates) > 1:
        candidates = [folder for folder in folders if not has_one_of(folder, BESIDE)]
    if len(candidates) != 1:
        return None
    (wrapper,) = candidates
    below = folders[wrapper]
    inner = set(group_by_folder(below))
    # Beside other folders it could as well be one class of several.
    if len(inner) < min(len(folders), 2):
        return None
    # With most images directly in it, it is a class with some folders.
    num_direct = sum(len(path) == 1 for path in below.values())
    if 2 * num_direct > len(below):
        return None
    # A folder called `train` is a part, unless a whole split is in it.
    part = read_part_name(wrapper)
    if part and not part.rest and len(folders) == 1:
        is_wrapper = len(set(find_parts(inner).values())) > 1
        return wrapper if is_wrapper else None
    return wrapper


def _note_split(
    folders: Mapping[str, Paths], parts: Mapping[str, SplitName], notes: list[str]
) -> None:
    if any(folder.lower() != split for folder, split in parts.items()):
        read = [f"{printable(folder)} as {split}" for folder, split in sorted(parts.items())]
        notes.append(f"read the folders of a split: {', '.join(read)}")
    left_out = sorted(map(printable, set(folders) - set(parts)))
    if left_out:
        notes.append(f"left out the folders beside the split: {', '.join(left_out)}")


def _unwrap_parts(
    inner: Mapping[str, Paths], parts: Mapping[str, SplitName], notes: list[str]
) -> dict[str, Paths]:
    """What is below each part, without folders around all of its classes.

    `seg_train/seg_train/<class>`, `train/images/<class>` and `test/test/<image>` have one.
    """
    unwrapped = dict(inner)
    while True:
        layers = {part: group_by_folder(paths) for part, paths in unwrapped.items()}
        wrapped = {}
        for part, layer in layers.items():
            if len(layer) == 1 and _is_wrapper_of_part(part, layers, parts):
                (wrapped[part],) = layer
        if not wrapped:
            return unwrapped
        for part, folder in wrapped.items():
            notes.append(f"stepped into the folder {printable(folder)} of {printable(part)}")
            unwrapped[part] = layers[part][folder]


def _is_wrapper_of_part(
    part: str,
    layers: Mapping[str, Mapping[str, Paths]],
    parts: Mapping[str, SplitName],
) -> bool:
    """Whether the one folder of a part is around its classes, and not its one class."""
    (folder,) = layers[part]
    inner = group_by_folder(layers[part][folder])
    known: set[str] = set()
    learnt: set[str] = set()
    below: set[str] = set()
    for other, layer in layers.items():
        if other != part:
            known.update(layer)
            if parts[other] == "train":
                learnt.update(layer)
            for paths in layer.values():
                below.update(group_by_folder(paths))
    names_no_class = is_one_of(folder, CONTAINERS) or read_part_name(folder) is not None
    if inner and names_no_class:
        return True
    if folder in known and not (names_no_class and folder not in learnt):
        return False
    if inner:
        return bool((known | below) & set(inner))
    # Images without a class, such as those of a contest: `test/test/<image>`.
    words = set(split_words(folder))
    # A number has no words, and is a class.
    names_no_class = names_no_class or bool(words and words <= WITHOUT_CLASS)
    return parts[part] != "train" and names_no_class


def _read_split_in_classes(folders: Mapping[str, Paths]) -> Assignment:
    """The classes where each one holds the split (`<class>/train/<image>`), or nothing."""
    assigned: Assignment = {}
    for folder, paths in folders.items():
        layer = group_by_folder(paths)
        parts = find_parts(layer) if len(folders) > 1 else {}
        if set(parts) != set(layer) or "train" not in parts.values() or len(parts) < 2:
            return {}
        for part, below in layer.items():
            deeper = group_by_folder(below)
            if any(not is_one_of(name, PICTURES) for name in deeper):
                raise AmbiguousLayoutError(
                    f"{printable(folder)}/{printable(part)} is a part of a split with folders in it"
                )
            for name in below:
                assigned[name] = (folder, parts[part])
    return assigned

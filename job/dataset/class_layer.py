"""Which folders of a tree are the classes: around them may be wrappers and a split.

Every function takes paths: by the name of each file, the names of the folders from some layer of
the tree on, and the file's own name last. What is read into names is noted for the log, and what
can be read in two ways is refused.
"""

from collections.abc import Mapping, Sequence

from job.dataset.folder_names import (
    BESIDE,
    COMPANIONS,
    CONTAINERS,
    FILLERS,
    PARTS,
    PICTURES,
    UNLABELLED,
    find_numbered_stem,
    has_one_of,
    is_one_of,
    read_part_name,
    split_words,
)
from job.dataset.names import first_names, printable
from job.dataset.splits import AmbiguousLayoutError, find_parts
from job.settings import SplitName

Paths = Mapping[str, tuple[str, ...]]
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
        _refuse_doubtful_classes(paths)
        _note_deeper_folders(paths, notes)
        return {name: (path[0], None) for name, path in paths.items() if len(path) > 1}

    _note_split(folders, parts, notes)
    inner = _unwrap_parts({folder: folders[folder] for folder in parts}, parts, notes)
    merged: dict[str, tuple[str, ...]] = {}
    for below in inner.values():
        merged.update(below)
    _refuse_doubtful_classes(merged)
    _refuse_other_classes(inner, parts)
    _note_deeper_folders(merged, notes)
    assigned: Assignment = {}
    for folder, below in inner.items():
        for name, path in below.items():
            if len(path) > 1:
                assigned[name] = (path[0], parts[folder])
    return assigned


def _note_deeper_folders(paths: Paths, notes: list[str]) -> None:
    """Note the classes whose images are all in folders of their own: those could be the classes."""
    found = []
    for folder, below in sorted(group_by_folder(paths).items()):
        is_above = all(len(path) > 1 for path in below.values())
        names = set(group_by_folder(below)) - {folder}
        inner = sorted(name for name in names if not is_one_of(name, PICTURES))
        if inner and is_above:
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


def group_by_folder(paths: Paths) -> dict[str, dict[str, tuple[str, ...]]]:
    """The files below each folder of the first layer, without that folder."""
    folders: dict[str, dict[str, tuple[str, ...]]] = {}
    for name, path in paths.items():
        if len(path) > 1:
            folders.setdefault(path[0], {})[name] = path[1:]
    return folders


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
    below: set[str] = set()
    for other, layer in layers.items():
        if other != part:
            known.update(layer)
            for paths in layer.values():
                below.update(group_by_folder(paths))
    names_no_class = is_one_of(folder, CONTAINERS) or read_part_name(folder) is not None
    if inner and names_no_class:
        return True
    if folder in known:
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


def _refuse_doubtful_classes(paths: Paths) -> None:
    """Refuse folders that look like classes and are probably something else."""
    folders = group_by_folder(paths)
    inner = {}
    for folder, below in folders.items():
        names = set(group_by_folder(below))
        inner[folder] = {name for name in names - {folder} if not is_one_of(name, PICTURES)}
    _refuse_nested_folders(inner)
    _refuse_equal_folders(inner)
    _refuse_names_of_no_class(list(folders))


def _refuse_nested_folders(inner: Mapping[str, set[str]]) -> None:
    """Refuse a data set that is in a folder beside its classes, perhaps a second time."""
    for folder, names in inner.items():
        if names & set(inner):
            found = printable(min(names & set(inner)))
            raise AmbiguousLayoutError(
                f"the folder {found} occurs beside {printable(folder)} and in it"
            )
        if len(inner) > 1 and is_one_of(folder, CONTAINERS) and len(names) > 1:
            listed = "; ".join(first_names(sorted(set(inner) - {folder})))
            raise AmbiguousLayoutError(
                f"{printable(folder)} holds several folders, and others are beside it: {listed}"
            )


def _refuse_names_of_no_class(folders: Sequence[str]) -> None:
    """Refuse folders whose names say nothing of what is on the images."""
    listed = "; ".join(first_names(sorted(folders)))
    if folders and all(is_one_of(folder, CONTAINERS | COMPANIONS) for folder in folders):
        raise AmbiguousLayoutError(f"all images are in folders that name no class: {listed}")

    stems = {find_numbered_stem(folder) for folder in folders}
    if len(folders) > 1 and len(stems - {None}) == 1:
        # `set` beside `set2` counts too.
        bare = [name for name in folders if find_numbered_stem(name) is None]
        if all(split_words(name) in stems or read_part_name(name) for name in bare):
            raise AmbiguousLayoutError(f"the folders count parts of a whole: {listed}")
    # As classes below a split: a split in a split.
    if find_parts(folders):
        raise AmbiguousLayoutError(f"the folders in the parts of a split are a split: {listed}")


def _refuse_equal_folders(inner: Mapping[str, set[str]]) -> None:
    """Refuse classes that hold the same folders, because those may be the classes."""
    holders: dict[str, int] = {}
    for names in inner.values():
        for name in names:
            holders[name] = holders.get(name, 0) + 1
    shared = {name for name, count in holders.items() if count > 1}
    with_shared = [folder for folder, names in inner.items() if names & shared]
    is_most = 2 * len(shared) >= len(holders) and 2 * len(with_shared) >= len(inner)
    if len(shared) > 1 and is_most:
        listed = "; ".join(first_names(sorted(inner)))
        found = "; ".join(first_names(sorted(shared)))
        raise AmbiguousLayoutError(f"{listed} hold the same folders: {found}")


def _refuse_other_classes(inner: Mapping[str, Paths], parts: Mapping[str, SplitName]) -> None:
    """Refuse a part whose classes are all others than those of train."""
    known: set[str] = set()
    for folder, paths in inner.items():
        if parts[folder] == "train":
            known.update(group_by_folder(paths))
    for folder, paths in inner.items():
        found = set(group_by_folder(paths))
        if known and found and known.isdisjoint(found):
            raise AmbiguousLayoutError(
                f"{printable(folder)} has none of the classes of train, but: "
                f"{'; '.join(first_names(sorted(found)))}"
            )

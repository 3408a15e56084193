"""Layers of folders that look like classes and are probably something else: they are refused."""

from collections.abc import Iterable, Mapping, Sequence

from job.dataset.folder_names import (
    COLLECTIONS,
    COMPANIONS,
    CONTAINERS,
    LABELLED,
    PICTURES,
    find_copied_name,
    find_numbered_stem,
    has_one_of,
    is_one_of,
    read_part_name,
    split_words,
)
from job.dataset.names import first_names, printable
from job.dataset.splits import AmbiguousLayoutError, find_parts
from job.dataset.tree import Paths, group_by_folder, holds_only_folders
from job.settings import SplitName


def refuse_doubtful_classes(paths: Paths) -> None:
    """Refuse folders that look like classes and are probably something else."""
    folders = group_by_folder(paths)
    inner = {}
    deeper = {}
    for folder, below in folders.items():
        inner[folder] = _find_names(group_by_folder(below), folder)
        deeper[folder] = _find_names(
            {name for path in below.values() for name in path[:-1]}, folder
        )
    _refuse_nested_folders(inner)
    _refuse_equal_folders(inner)
    # Wrappers may hide that they hold the same: `amazon/images/<class>`, `webcam/images/<class>`.
    _refuse_equal_folders(deeper)
    _refuse_collections(folders, inner)
    _refuse_names_of_no_class(list(folders))


def _find_names(names: Iterable[str], folder: str) -> set[str]:
    """The names that may be those of classes below a folder."""
    return {name for name in names if name != folder and not is_one_of(name, PICTURES)}


def _refuse_collections(folders: Mapping[str, Paths], inner: Mapping[str, set[str]]) -> None:
    """Refuse folders around classes that are called as such: `lung_set/<class>`, `a/<class>`."""
    are_above = all(map(holds_only_folders, folders.values()))
    if len(folders) < 2 or not are_above or not all(inner.values()):
        return
    listed = "; ".join(first_names(sorted(folders)))
    if all(not COLLECTIONS.isdisjoint(split_words(folder)) for folder in folders):
        raise AmbiguousLayoutError(f"the names of these folders are those of collections: {listed}")
    initials = {folder: {name[0].casefold() for name in inner[folder]} for folder in folders}
    if all(found == {folder.casefold()} for folder, found in initials.items()):
        raise AmbiguousLayoutError(f"the folders are the initials of those in them: {listed}")


def _refuse_nested_folders(inner: Mapping[str, set[str]]) -> None:
    """Refuse a data set that is in a folder beside its classes, perhaps a second time."""
    for folder, names in inner.items():
        if names & set(inner):
            found = printable(min(names & set(inner)))
            raise AmbiguousLayoutError(
                f"the folder {found} occurs beside {printable(folder)} and in it"
            )
        holds_classes = is_one_of(folder, CONTAINERS) or has_one_of(folder, LABELLED)
        if len(inner) > 1 and holds_classes and len(names) > 1:
            listed = "; ".join(first_names(sorted(set(inner) - {folder})))
            raise AmbiguousLayoutError(
                f"{printable(folder)} holds several folders, and others are beside it: {listed}"
            )


def _refuse_names_of_no_class(folders: Sequence[str]) -> None:
    """Refuse folders whose names say nothing of what is on the images."""
    listed = "; ".join(first_names(sorted(folders)))
    if folders and all(is_one_of(folder, CONTAINERS | COMPANIONS) for folder in folders):
        raise AmbiguousLayoutError(f"all images are in folders that name no class: {listed}")
    copies = [name for name in sorted(folders) if find_copied_name(name) in folders]
    if copies:
        found = f"{printable(copies[0])} is called like a copy of {find_copied_name(copies[0])}"
        raise AmbiguousLayoutError(found)

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
    # One folder that all have, and nothing else, is no class: `<class>/crops`.
    if shared and len(holders) > 1 and is_most:
        listed = "; ".join(first_names(sorted(inner)))
        found = "; ".join(first_names(sorted(shared)))
        raise AmbiguousLayoutError(f"{listed} hold the same folders: {found}")


def refuse_other_classes(inner: Mapping[str, Paths], parts: Mapping[str, SplitName]) -> None:
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

"""Files by name, with the names of the folders that they are in."""

from collections.abc import Mapping

# By the name of each file: folders from some layer of the tree on, and the file's own name last.
Paths = Mapping[str, tuple[str, ...]]


def group_by_folder(paths: Paths) -> dict[str, dict[str, tuple[str, ...]]]:
    """The files below each folder of the first layer, without that folder."""
    folders: dict[str, dict[str, tuple[str, ...]]] = {}
    for name, path in paths.items():
        if len(path) > 1:
            folders.setdefault(path[0], {})[name] = path[1:]
    return folders


def holds_only_folders(paths: Paths) -> bool:
    """Whether each file is in a folder of the first layer, and none beside those."""
    return all(len(path) > 1 for path in paths.values())

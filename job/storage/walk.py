"""The files below a folder, in the order in which S3 lists keys, without leaving the folder."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from job.errors import SettingsError, StoreForbidden
from job.files import PARTIAL
from job.storage.atomic import remove

logger = logging.getLogger(__name__)


def list_files(folder: Path, base: Path) -> Iterator[Path]:
    """Every file below `folder`, by the UTF-8 bytes of its path. None where it is not a folder.

    Partial files of our own are left out. Links to folders, links to nothing, sockets and the like
    are left out and logged.

    Raises:
        StoreForbidden: a link leads out of `base`.
        SettingsError: a name is not UTF-8.
    """
    for item in sorted(_scan_folder(folder), key=_sort_key):
        if item.is_dir(follow_symlinks=False):
            yield from list_files(Path(item.path), base)
        elif _is_object(item, base):
            yield Path(item.path)


def _scan_folder(folder: Path) -> list[os.DirEntry[str]]:
    """The items of `folder`, or nothing where it is not a folder or was deleted meanwhile."""
    try:
        with os.scandir(folder) as items:
            return list(items)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _sort_key(item: os.DirEntry[str]) -> bytes:
    """The name as it occurs in a key: `a.jpg` < what is in the folder `a` < `a0.jpg`."""
    name = f"{item.name}/" if item.is_dir(follow_symlinks=False) else item.name
    try:
        return name.encode()
    except UnicodeEncodeError as error:
        raise SettingsError(
            f"Received a file whose name is not UTF-8: {item.path!a}; expected names in UTF-8.",
            "Rename it (convmv converts whole folders).",
        ) from error


def _is_object(item: os.DirEntry[str], base: Path) -> bool:
    if PARTIAL.fullmatch(item.name):
        return False
    if item.is_symlink() and not Path(os.path.realpath(item.path)).is_relative_to(base):
        raise StoreForbidden(
            f"{item.path} is a link that leads out of {base}; expected every file inside of it.",
            "Put the file there, or give the URI of the folder that holds both.",
        )
    if item.is_file():
        return True
    logger.warning("%s is neither a file nor a folder and is left out", item.path)
    return False


def delete_tree(top: Path, keep: Path) -> int:
    """Delete the file `top`, or everything below the folder `top`, and folders that become empty.

    Links are deleted, not followed. The folder `keep` and its parents stay. Returns the number of
    deleted files and links, not counting partial files of our own.
    """
    is_file = top.is_symlink() or top.is_file()
    count = int(remove(top)) if is_file else _delete_items(top)

    folder = top
    while folder != keep and _remove_if_empty(folder):
        folder = folder.parent
    return count


def _delete_items(folder: Path) -> int:
    count = 0
    for item in _scan_folder(folder):
        path = Path(item.path)
        if item.is_dir(follow_symlinks=False):
            count += _delete_items(path)
            _remove_if_empty(path)
        else:
            count += remove(path)
    return count


def _remove_if_empty(folder: Path) -> bool:
    """Whether `folder` is gone. One that somebody has just written to stays."""
    try:
        folder.rmdir()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return True

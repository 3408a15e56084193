"""What lies below a folder, in the order in which S3 lists keys, without leaving the folder."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from job.errors import SettingsError, StoreForbidden
from job.storage.atomic import DRAFT, remove

logger = logging.getLogger(__name__)


def files(folder: Path, base: Path) -> Iterator[Path]:
    """Every file below `folder` (none where it is no folder), by the UTF-8 bytes of its path.

    Drafts of our own are left out; links to folders, links to nothing, sockets and the like are
    left out and logged.

    Raises:
        StoreForbidden: a link leads out of `base`.
        SettingsError: a name is not UTF-8.
    """
    for item in sorted(_items(folder), key=_order):
        if item.is_dir(follow_symlinks=False):
            yield from files(Path(item.path), base)
        elif _counts(item, base):
            yield Path(item.path)


def _items(folder: Path) -> list[os.DirEntry[str]]:
    """What `folder` holds; nothing where it is no folder, or no longer."""
    try:
        with os.scandir(folder) as items:
            return list(items)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _order(item: os.DirEntry[str]) -> bytes:
    """Keys sort as whole strings: `a.jpg` comes before what is in the folder `a`, and `a0.jpg` after it."""
    try:
        return (item.name + "/" * item.is_dir(follow_symlinks=False)).encode()
    except UnicodeEncodeError as error:
        raise SettingsError(
            f"Received a file whose name is not UTF-8: {item.path!a}; expected names that can be written down.",
            "Rename it (convmv converts whole folders).",
        ) from error


def _counts(item: os.DirEntry[str], base: Path) -> bool:
    if DRAFT.fullmatch(item.name):
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


def delete(top: Path, keep: Path) -> int:
    """Delete the file `top`, or all that the folder `top` holds, and then the folders left empty below `keep`.

    Links are deleted, not followed. Returns how many files and links went, drafts of our own not
    counted.
    """
    count = remove(top) if top.is_symlink() or top.is_file() else _empty(top)
    _prune(top, keep)
    return count


def _empty(folder: Path) -> int:
    count = 0
    for item in _items(folder):
        if item.is_dir(follow_symlinks=False):
            count += _empty(Path(item.path))
            _rmdir(Path(item.path))
        else:
            count += remove(Path(item.path))
    return count


def _prune(folder: Path, keep: Path) -> None:
    while folder != keep and _rmdir(folder):
        folder = folder.parent


def _rmdir(folder: Path) -> bool:
    """Whether `folder` is gone: one that somebody has just written to stays."""
    try:
        folder.rmdir()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return True

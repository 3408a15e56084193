"""A folder of a store that appears whole or not at all.

It is filled under another name and renamed. A lock file beside it tells a folder that a process is
filling from one that a killed process has left.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from job import files
from job.storage.walk import delete_tree

# Servers that watch a folder for versions take only names that are numbers.
STAGED = re.compile(r"\.graft-[0-9a-f]{32}")


@contextmanager
def fill_folder(target: Path) -> Iterator[Path]:
    """A new folder that gets the name `target` after the block, and is gone if the block fails.

    A folder of that name that another process has made meanwhile stays, and this one goes.
    """
    lock = files.name_partial(target)
    staged = target.with_name(lock.stem)
    try:
        # The lock comes first: a folder without one belongs to nobody.
        with files.create_locked(lock):
            files.make_folder(staged)
            yield staged
            try:
                staged.rename(target)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                delete_tree(staged, keep=target.parent)
    except BaseException:
        delete_tree(staged, keep=target.parent)
        raise
    finally:
        lock.unlink(missing_ok=True)
    files.sync_folder(target.parent)


def sweep_staged(root: Path) -> int:
    """Remove the folders below `root` that killed processes have not filled. Returns how many."""
    count = 0
    for parent, folders, _ in os.walk(root):
        for name in folders:
            folder = Path(parent) / name
            is_locked = folder.with_name(f"{name}.partial").exists()
            if STAGED.fullmatch(name) and not is_locked:
                delete_tree(folder, keep=Path(parent))
                count += 1
    return count

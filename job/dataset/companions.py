"""Files that lie beside images and are none of their class: masks, labels, thumbnails."""

import re
from collections import defaultdict
from collections.abc import Collection

from job.dataset.folder_names import COMPANIONS, PICTURES, is_one_of
from job.dataset.names import first_names
from job.dataset.tree import Paths

# `cat (1)_mask.png` and `cat (1)_mask_1.png` beside `cat (1).png`.
COMPANION_FILE = re.compile(
    r"(.+)[_ .-](mask|masks|seg|segmentation|gt|groundtruth|label|annotation)([_ .-]?\d+)?",
    re.IGNORECASE,
)


def drop_companions(paths: Paths, class_depth: int | None, notes: list[str]) -> Paths:
    """The paths without files that only accompany others.

    A folder is left out if its name says that it accompanies images (`masks`), and beside it are
    images or a folder that is named so (`images`). A file is left out if its name is that of
    another file in its folder and says so (`1_mask.png` beside `1.png`). The layer of the classes
    is never left out if `class_depth` names it.
    """
    folders = {folder for path in paths.values() for folder in path[:-1]}
    companions = {folder for folder in folders if is_one_of(folder, COMPANIONS)}
    accompanied = _find_accompanied(paths, folders) if companions else set()
    stems: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for path in paths.values():
        stems[path[:-1]].add(path[-1].rpartition(".")[0])

    kept = {}
    left_out = set()
    for name, path in paths.items():
        companion = None
        for at, folder in enumerate(path[:-1]):
            is_class_layer = class_depth is not None and at == class_depth - 1
            if folder in companions and path[:at] in accompanied and not is_class_layer:
                companion = "/".join(path[: at + 1]) + "/"
        found = COMPANION_FILE.fullmatch(path[-1].rpartition(".")[0])
        if companion is None and found and found[1] in stems[path[:-1]]:
            companion = "/".join(path)
        if companion is None:
            kept[name] = path
        else:
            left_out.add(companion)
    if left_out:
        listed = "; ".join(first_names(sorted(left_out)))
        notes.append(f"left out what accompanies images: {listed}")
    return kept


def _find_accompanied(paths: Paths, folders: Collection[str]) -> set[tuple[str, ...]]:
    """The folders that hold images themselves, or a folder that is named like images."""
    pictures = {folder for folder in folders if is_one_of(folder, PICTURES)}
    found = set()
    for path in paths.values():
        if len(path) > 1:
            found.add(path[:-1])
        for at, folder in enumerate(path[:-1]):
            if folder in pictures:
                found.add(path[:at])
    return found

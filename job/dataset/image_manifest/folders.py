"""Tables whose paths begin at another folder than that of the table.

That is guessed only if no path of the table leads to a file as it is, and if the guess gives a file
for all of them. A single missing file is never replaced by another one of its name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from job.dataset.image_manifest.spelling import Hit, KeyIndex, spell_path


@dataclass(frozen=True, slots=True)
class Shift:
    """The files that the paths mean, and a note that says how they were found."""

    hits: Mapping[str, Hit]
    note: str


def find_shift(paths: Sequence[str], index: KeyIndex) -> Shift | None:
    """The files of all paths after one change of folder, or None if there is none.

    Raises:
        ValueError: several changes fit. It says which, as a problem of the whole table.
    """
    if not paths:
        return None
    return _drop_folders(paths, index) or _add_folder(paths, index)


def _drop_folders(paths: Sequence[str], index: KeyIndex) -> Shift | None:
    """Drop as few of the folders that begin all paths as it takes."""
    divided = []
    for path in paths:
        # Separators alone: what is percent-encoded is still part of a name.
        tidy = list(spell_path(path))[:2][-1][1]
        divided.append(tidy.split("/"))
    num_shared = 0
    for parts in zip(*(parts[:-1] for parts in divided), strict=False):
        if len(set(parts)) > 1:
            break
        num_shared += 1
    for depth in range(1, num_shared + 1):
        hits = _find_all_files(paths, ["/".join(parts[depth:]) for parts in divided], index)
        if hits:
            dropped = "/".join(divided[0][:depth])
            return Shift(hits, f"all paths were read without {dropped}/")
    return None


def _find_all_files(
    paths: Sequence[str], shorter: Sequence[str], index: KeyIndex
) -> dict[str, Hit]:
    """The file of each path by a shorter one. Empty if one of them has none."""
    hits = {}
    for path, short in zip(paths, shorter, strict=True):
        hit = index.find(short)
        if not hit:
            return {}
        hits[path] = hit
    return hits


def _add_folder(paths: Sequence[str], index: KeyIndex) -> Shift | None:
    """Find the one folder that all paths begin in, else the only file of each name."""
    found = {}
    for path in paths:
        found[path] = index.find_below(path)
        if not found[path]:
            return None
    shared = set(found[paths[0]]).intersection(*found.values())
    if len(shared) == 1:
        (folder,) = shared
        hits = {path: Hit(by_folder[folder], "") for path, by_folder in found.items()}
        return Shift(hits, f"all images were found below {folder}/")

    several = [path for path, by_folder in found.items() if len(by_folder) > 1]
    if several:
        fitting = sorted(found[several[0]].values())[:3]
        raise ValueError(f"files in several folders fit {several[0]}: {', '.join(fitting)}")
    hits = {}
    for path, by_folder in found.items():
        hits[path] = Hit(next(iter(by_folder.values())), "")
    return Shift(hits, "all images were found in deeper folders, by the only file of each name")

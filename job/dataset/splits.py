"""Which of some folders are the parts of a split."""

from collections import defaultdict
from collections.abc import Collection, Mapping

from job.dataset.folder_names import (
    BESIDE,
    COMPANIONS,
    UNLABELLED,
    PartName,
    has_one_of,
    read_part_name,
)
from job.dataset.names import first_names, printable
from job.settings import SplitName


class AmbiguousLayoutError(Exception):
    """Folders that can be read in several ways. The text says why, as a clause."""


def find_parts(folders: Collection[str]) -> dict[str, SplitName]:
    """The part of a split that each folder is, or nothing where they are no split.

    A class may be called like a part. `train` and a second part make a split, and so does `train`
    alone if nothing is beside it. Parts may have an affix in common (`seg_train`, `seg_test`).
    Folders that cannot hold classes may be left out, such as `seg_pred`.

    Raises:
        AmbiguousLayoutError: some folders are parts of a split, and others may be classes.
    """
    named = {}
    for folder in folders:
        part = read_part_name(folder)
        # `train_masks` and `test_predictions` are no parts, but lie beside them.
        if part and not _is_beside_a_split(folder):
            named[folder] = part
    parts = _find_alike_parts(named, folders)
    if not parts:
        return {}
    _refuse_several_splits(parts, named)

    others = []
    for folder in sorted(set(folders) - set(parts)):
        if not _is_beside_a_split(folder):
            others.append(folder)
    if others:
        given = ", ".join(sorted(map(printable, parts)))
        listed = "; ".join(first_names(others))
        raise AmbiguousLayoutError(f"they are a split ({given}) beside others: {listed}")
    return _tell_evaluation({folder: named[folder] for folder in sorted(parts)})


def _find_alike_parts(named: Mapping[str, PartName], folders: Collection[str]) -> set[str]:
    """The folders whose names are one split: nothing, or train and perhaps more."""
    by_rest = defaultdict(set)
    for folder, part in named.items():
        by_rest[part.rest].add(folder)
    splits = []
    for alike in by_rest.values():
        kinds = {named[folder].split for folder in alike}
        if "train" in kinds and len(kinds) > 1:
            splits.append(alike)
    if len(splits) > 1:
        listed = "; ".join(first_names(sorted(named)))
        raise AmbiguousLayoutError(f"their names are a split and something else: {listed}")
    if splits:
        return splits[0]

    # All that may hold classes.
    rest = {folder for folder in folders if not _is_beside_a_split(folder)}
    if not rest or rest != set(named):
        return set()
    kinds = {part.split for part in named.values()}
    if len(by_rest) == 1:
        # Words that stay may be those of a class: `bullet_train1` and `bullet_train2`.
        return rest if () in by_rest or len(kinds) > 1 else set()
    if "train" in kinds and len(kinds) == len(named):
        return rest
    if "train" in kinds and len(kinds) > 1:
        listed = "; ".join(first_names(sorted(named)))
        raise AmbiguousLayoutError(f"their names are a split and something else: {listed}")
    return set()


def _refuse_several_splits(parts: Collection[str], named: Mapping[str, PartName]) -> None:
    """Refuse the same part twice, in two spellings or as in cross-validation."""
    by_case = defaultdict(list)
    by_split = defaultdict(list)
    for folder in sorted(parts):
        by_case[folder.casefold()].append(folder)
        by_split[named[folder].split].append(folder)
    for alike in by_case.values():
        if len(alike) > 1:
            listed = " and ".join(map(printable, alike))
            raise AmbiguousLayoutError(f"{listed} differ only in case")
    # `train1`, `test1`, `train2`, `test2`: what one tests on, the other learns from.
    several = [folders for folders in by_split.values() if len(folders) > 1]
    if len(several) > 1:
        listed = "; ".join(first_names(sorted(parts)))
        raise AmbiguousLayoutError(f"they are several splits: {listed}")


def _is_beside_a_split(folder: str) -> bool:
    return has_one_of(folder, COMPANIONS | UNLABELLED | BESIDE)


def _tell_evaluation(named: Mapping[str, PartName]) -> dict[str, SplitName]:
    """The parts, where `eval` is val if another folder is test and none is val."""
    sure = {part.split for part in named.values() if not part.is_evaluation}
    is_val = "test" in sure and "val" not in sure
    parts = {}
    for folder, part in named.items():
        parts[folder] = "val" if part.is_evaluation and is_val else part.split
    return parts

"""Files by the names that people and their tools give them."""

import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from job.dataset.layout import NOT_IMAGES

EXACT = ""
SEPARATORS = "with other separators"
PERCENT = "without percent-encoding"


@dataclass(frozen=True, slots=True)
class Hit:
    """A file that a name means. `how` says how they differ, and is empty if they are equal."""

    key: str
    how: str


def _compose_accents(path: str) -> str:
    return unicodedata.normalize("NFC", path)


def _fold_case(path: str) -> str:
    return _compose_accents(path).casefold()


def _drop_extension(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    stem, dot, _ = name.rpartition(".")
    # A name that begins with its only dot has no extension.
    return f"{folder}{slash}{stem}" if dot and stem else path


# How a name and a file may differ, in the order of trust: what is done to the key and to the name.
Fold = Callable[[str], str]
FOLDS: Mapping[str, tuple[Fold, Fold]] = {
    "in another Unicode form": (_compose_accents, _compose_accents),
    "with the extension of the only such file": (
        lambda key: _compose_accents(_drop_extension(key)),
        _compose_accents,
    ),
    "in another case": (_fold_case, _fold_case),
    "in another case and with an extension": (
        lambda key: _fold_case(_drop_extension(key)),
        _fold_case,
    ),
}


def spell_path(path: str) -> Iterator[tuple[str, str]]:
    """The ways to read a path, with how they differ: as it is, then tidied, then decoded."""
    yield EXACT, path
    parts = path.replace("\\", "/").split("/")
    tidy = "/".join(part for part in parts if part not in ("", "."))
    if tidy != path:
        yield SEPARATORS, tidy
    # Bytes that are not UTF-8 become a character that no file is named with.
    decoded = unquote(tidy)
    if decoded != tidy:
        yield PERCENT, decoded


class KeyIndex:
    """The files of a data set, found by their names or by parts of them."""

    def __init__(self, keys: Collection[str]) -> None:
        self._keys = frozenset(keys)
        self._by_path: dict[str, dict[str, list[str]]] = {}
        self._by_name: dict[str, dict[str, list[str]]] = {}

    def holds(self, key: str) -> bool:
        """Whether there is a file of exactly this name."""
        return key in self._keys

    def find(self, path: str) -> Hit | None:
        """The one file that the path means.

        Raises:
            ValueError: several files fit. It completes "line 3 …".
        """
        spellings = list(spell_path(path))
        for how, spelling in spellings:
            if spelling in self._keys:
                return Hit(spelling, how)
        for fold_name, (_, fold) in FOLDS.items():
            known = self._fold_paths(fold_name)
            for _, spelling in spellings:
                keys = known.get(fold(spelling), [])
                if len(keys) > 1:
                    raise _explain_several(path, keys)
                if keys:
                    return Hit(keys[0], fold_name)
        return None

    def find_below(self, path: str) -> dict[str, str]:
        """The files in any folder whose path ends with this one, by that folder.

        With several spellings the most trusted one that gives any file counts.

        Raises:
            ValueError: several files of one folder fit. It completes "line 3 …".
        """
        spellings = list(spell_path(path))
        for fold_name, (fold_key, fold) in FOLDS.items():
            known = self._fold_names(fold_name)
            for _, spelling in spellings:
                wanted = fold(spelling)
                found: dict[str, str] = {}
                for key in known.get(wanted.rpartition("/")[2], []):
                    folded = fold_key(key)
                    if folded.endswith(f"/{wanted}"):
                        # The folder is found by counting its parts: folding changes lengths.
                        depth = key.count("/") - wanted.count("/")
                        folder = "/".join(key.split("/")[:depth])
                        if folder in found:
                            raise _explain_several(path, [found[folder], key])
                        found[folder] = key
                if found:
                    return found
        return {}

    def _fold_paths(self, fold_name: str) -> dict[str, list[str]]:
        if fold_name not in self._by_path:
            self._by_path[fold_name] = self._make_table(FOLDS[fold_name][0])
        return self._by_path[fold_name]

    def _fold_names(self, fold_name: str) -> dict[str, list[str]]:
        if fold_name not in self._by_name:
            fold = FOLDS[fold_name][0]
            self._by_name[fold_name] = self._make_table(lambda key: fold(key).rpartition("/")[2])
        return self._by_name[fold_name]

    def _make_table(self, fold: Fold) -> dict[str, list[str]]:
        table: dict[str, list[str]] = {}
        for key in self._keys:
            extension = key.lower().rpartition(".")[2]
            # `cat.json` beside `cat.jpg` is no second image.
            if extension not in NOT_IMAGES:
                table.setdefault(fold(key), []).append(key)
        return table


def _explain_several(path: str, keys: Sequence[str]) -> ValueError:
    shown = ", ".join(sorted(keys)[:3])
    return ValueError(f"names {path}, and {len(keys)} files fit: {shown}")

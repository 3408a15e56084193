"""From the rows of a table to the files of its folder."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from job.dataset.image_manifest.addresses import locate
from job.dataset.image_manifest.folders import find_shift
from job.dataset.image_manifest.reading import ImageManifest, ImageRow
from job.dataset.image_manifest.spelling import Hit, KeyIndex
from job.dataset.layout import Place
from job.plurals import format_count


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """What a table says of the files of its folder.

    Attributes:
        places: by key.
        problems: a description of every row that cannot be used, by its line.
        notes: what was guessed, one sentence each.
        found: how many rows name a file.
    """

    places: Mapping[str, Place]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    found: int


@dataclass(frozen=True, slots=True)
class _Reference:
    """A row and the path by which one of its columns names the image."""

    row: ImageRow
    name: str
    path: str
    is_foreign: bool


def find_shared_folder(manifest: ImageManifest, roots: Collection[str]) -> str:
    """The deepest folder that all images are in, if the table spells their paths as the store does.

    So a table in a large bucket need not list all of it.
    """
    shared: list[str] | None = None
    for row in manifest.rows:
        if row.is_comment or not row.names[0]:
            continue
        try:
            located = locate(row.names[0], roots)
        except ValueError:
            continue
        parts = located.path.split("/")[:-1]
        if shared is None:
            shared = parts
        while shared != parts[: len(shared)]:
            shared.pop()
    folder = []
    for part in shared or ():
        # A folder of the disk cannot be called so.
        if part in ("", ".") or "\0" in part:
            break
        folder.append(part)
    return "/".join(folder)


def match(manifest: ImageManifest, keys: Collection[str], roots: Collection[str]) -> Matching:
    """Find the file of each row, by the first column that names a file in all rows.

    Args:
        manifest: the table.
        keys: all files below its folder.
        roots: addresses of the folder.
    """
    index = KeyIndex(keys)
    matchings = []
    for place in range(len(manifest.image_columns)):
        matching = _match_column(manifest, place, index, roots)
        matchings.append(matching)
        if not matching.problems:
            break
    # Of equal ones it is the first, whose column is the most trusted.
    best = max(matchings, key=lambda matching: (not matching.problems, matching.found))
    return replace(
        best,
        problems=(*manifest.problems, *best.problems),
        notes=(*manifest.notes, *best.notes),
    )


def _match_column(
    manifest: ImageManifest, place: int, index: KeyIndex, roots: Collection[str]
) -> Matching:
    """Find the file of each row by one of the columns."""
    problems: list[str] = []
    notes: list[str] = []
    if not manifest.is_image_given:
        notes.append(f"the image is the column {manifest.image_columns[place]!r}")
    references = _locate_rows(manifest.rows, place, roots, problems)
    references = _drop_comments(references, index, notes)
    hits = _find_files(references, index, problems, notes)
    found = [reference for reference in references if reference.path in hits]
    notes += _describe_guesses(found, hits)
    places = _place_images(found, hits, problems, notes)
    return Matching(places=places, problems=tuple(problems), notes=tuple(notes), found=len(found))


def _locate_rows(
    rows: Sequence[ImageRow], place: int, roots: Collection[str], problems: list[str]
) -> list[_Reference]:
    references = []
    for row in rows:
        name = row.names[place]
        try:
            if not name:
                raise ValueError("has no image")
            located = locate(name, roots)
        except ValueError as error:
            if not row.is_comment:
                problems.append(f"line {row.line} {error}")
        else:
            references.append(_Reference(row, name, located.path, located.is_foreign))
    return references


def _drop_comments(
    references: Sequence[_Reference], index: KeyIndex, notes: list[str]
) -> list[_Reference]:
    kept = []
    dropped = []
    for reference in references:
        # Only a file of that very name shows that `#1.jpg` is no comment.
        is_name = reference.name.startswith("#") and index.holds(reference.path)
        if reference.row.is_comment and not is_name:
            dropped.append(reference.row.line)
        else:
            kept.append(reference)
    if dropped:
        rows = format_count(
            len(dropped), "row that begins with # was", "rows that begin with # were"
        )
        notes.append(f"{rows} left out (line {dropped[0]})")
    return kept


def _find_files(
    references: Sequence[_Reference], index: KeyIndex, problems: list[str], notes: list[str]
) -> dict[str, Hit]:
    """The file of each path. Adds a problem for each row without one."""
    hits = {}
    unclear = {}
    paths = list(dict.fromkeys(reference.path for reference in references))
    for path in paths:
        try:
            if hit := index.find(path):
                hits[path] = hit
        except ValueError as error:
            unclear[path] = str(error)
    if not hits and not unclear and not problems:
        hits = _find_shifted_files(paths, index, problems, notes)
    for reference in references:
        if reference.path not in hits:
            missed = f"names {reference.name}, which is not a file there"
            problems.append(f"line {reference.row.line} {unclear.get(reference.path, missed)}")
    return hits


def _find_shifted_files(
    paths: Sequence[str], index: KeyIndex, problems: list[str], notes: list[str]
) -> dict[str, Hit]:
    """The files of all paths below another folder, or none. Adds to the problems and notes."""
    try:
        shift = find_shift(paths, index)
    except ValueError as error:
        problems.append(str(error))
        return {}
    if not shift:
        return {}
    notes.append(shift.note)
    return dict(shift.hits)


def _describe_guesses(found: Sequence[_Reference], hits: Mapping[str, Hit]) -> list[str]:
    """One sentence for each way in which names and files differ, with its first example."""
    notes = []
    foreign = [reference for reference in found if reference.is_foreign]
    if foreign:
        notes.append(
            "took addresses of another store for files below the manifest's folder: "
            f"{len(foreign):,}, such as {foreign[0].name} for {hits[foreign[0].path].key}"
        )
    by_how: dict[str, list[_Reference]] = {}
    for reference in found:
        by_how.setdefault(hits[reference.path].how, []).append(reference)
    for how, alike in by_how.items():
        if how:
            first = alike[0]
            names = format_count(len(alike), "name fits", "names fit")
            notes.append(
                f"{names} a file {how}, such as {first.name} for {hits[first.path].key} "
                f"(line {first.row.line})"
            )
    return notes


def _place_images(
    found: Sequence[_Reference], hits: Mapping[str, Hit], problems: list[str], notes: list[str]
) -> dict[str, Place]:
    """What is known of each file. A second row must say the same as the first."""
    first_rows: dict[str, ImageRow] = {}
    repeated = []
    for reference in found:
        row = reference.row
        key = hits[reference.path].key
        first = first_rows.setdefault(key, row)
        if first is row:
            continue
        if first.place == row.place:
            repeated.append(row.line)
            continue
        said = f"{_describe_place(row.place)}, after {_describe_place(first.place)}"
        problems.append(f"line {row.line} names {key} again, after line {first.line}: {said}")
    if repeated:
        notes.append(
            f"{format_count(len(repeated), 'row repeats', 'rows repeat')} an earlier one, left out "
            f"(line {repeated[0]})"
        )

    # Half a split is a mistake: nobody can know where the other images should go.
    without = [row for row in first_rows.values() if row.place.split is None]
    if without and len(without) < len(first_rows):
        problems.append(
            f"line {without[0].line} has no split although other rows have one "
            f"({format_count(len(without), 'such row')})"
        )
    return {key: row.place for key, row in first_rows.items()}


def _describe_place(place: Place) -> str:
    parts = [repr(place.label)]
    parts += filter(None, (place.split, place.group and f"group {place.group}"))
    return " ".join(parts)

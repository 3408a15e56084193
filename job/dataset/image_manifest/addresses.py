"""From the name of an image, which may be an address, to a path below the table's folder."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import unquote

SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.IGNORECASE | re.DOTALL)
WINDOWS_PATH = re.compile(r"[a-z]:[\\/]|\\\\", re.IGNORECASE)
# Names of the same store in Hadoop's world.
S3_SCHEMES = ("s3", "s3a", "s3n")


@dataclass(frozen=True, slots=True)
class Located:
    """A path that may lead to a file.

    `is_foreign`: it comes from an address of another store, whose bucket or host it begins with.
    """

    path: str
    is_foreign: bool = False


def locate(name: str, roots: Collection[str]) -> Located:
    """The path of a name below the table's folder.

    Addresses of stores that no data set is read from, such as gs://, are those of a tool that wrote
    the table before the files were copied. They are taken whole.

    Args:
        name: as in the table.
        roots: addresses of the table's folder, `s3://…` or `file://…`.

    Raises:
        ValueError: it leads out of the folder. It completes "line 3 …".
    """
    located = _locate_address(name, roots)
    parts = unquote(located.path).replace("\\", "/").split("/")
    if ".." in parts or located.path.startswith("/"):
        raise _refuse(name)
    return located


def _locate_address(name: str, roots: Collection[str]) -> Located:
    if WINDOWS_PATH.match(name):
        raise _refuse(name)
    folders = [unquote(root[7:]) for root in roots if is_local(root)]
    if name.startswith("/"):
        return _strip_roots(name, name, folders)
    if name.lower().startswith("file:"):
        path = unquote(re.sub(r"^file:(//(localhost)?(?=/))?", "", name, flags=re.IGNORECASE))
        return _strip_roots(name, path, folders)
    found = SCHEME.fullmatch(name)
    if not found:
        return Located(name.removeprefix("./"))
    scheme, location = found[1].lower(), found[2]
    if scheme in S3_SCHEMES:
        return _strip_roots(name, location, [root[5:] for root in roots if not is_local(root)])
    if scheme in ("http", "https"):
        # Signatures and tokens.
        location = re.split(r"[?#]", location, maxsplit=1)[0]
    return Located(location, is_foreign=True)


def is_local(root: str) -> bool:
    """Whether an address is that of a folder."""
    return root.startswith("file://")


def _strip_roots(name: str, location: str, roots: Collection[str]) -> Located:
    for root in roots:
        folder = root.rstrip("/") + "/"
        if location.startswith(folder):
            return Located(location.removeprefix(folder))
    raise _refuse(name)


def _refuse(name: str) -> ValueError:
    return ValueError(f"names {name}; expected a path relative to the manifest's folder, inside it")

"""promoted.json: the pointer to the champion among the releases of a registry."""

from typing import Any

from job import strict_json
from job.errors import ReleaseError
from job.release.manifest import SCHEMA, SHA256, is_plain_name

POINTER = "promoted.json"
# What earlier versions wrote as the champion before, if its pointer was damaged.
UNKNOWN = {"run_id": None, "manifest_sha256": None}


def folder_of(run_id: str) -> str:
    """The folder of a run's release, relative to its registry."""
    return f"releases/{run_id}"


def parse_pointer(raw: bytes, where: str) -> dict[str, Any]:
    """Read the content of promoted.json. `where` names its registry in errors.

    Raises:
        ReleaseError: it is not a pointer that Graft writes.
    """
    try:
        pointer: dict[str, Any] = strict_json.parse(raw)
        if pointer["schema"] != SCHEMA:
            raise ValueError(f"schema is {pointer['schema']!r}, expected {SCHEMA}")
        _check_name(pointer)
        if pointer.get("previous") not in (None, UNKNOWN):
            _check_name(pointer["previous"])
        expected = folder_of(pointer["run_id"])
        if pointer["release"] != expected:
            raise ValueError(f"release is {pointer['release']!r}, expected {expected!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise ReleaseError(
            f"{POINTER} of {where} is not valid: {error!r}.",
            "Promote a release by hand: graft promote RELEASE.",
        ) from error
    return pointer


def _check_name(named: dict[str, Any]) -> None:
    """Raise ValueError, KeyError or TypeError if this names no release."""
    # Any other folder could be outside of the registry.
    if not is_plain_name(named["run_id"]):
        raise ValueError(f"run_id is {named['run_id']!r}, expected the name of a folder")
    digest = named["manifest_sha256"]
    if not SHA256.fullmatch(str(digest)):
        raise ValueError(f"manifest_sha256 is {digest!r}, expected 64 hexadecimal digits")

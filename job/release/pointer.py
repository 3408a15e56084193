"""promoted.json: the pointer to the champion among the releases of a registry."""

from typing import Any

from job import strict_json
from job.errors import ReleaseError
from job.release.manifest import SCHEMA, SHA256, is_plain_name

POINTER = "promoted.json"


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
        # Any other folder could be outside of the registry.
        if not is_plain_name(pointer["run_id"]):
            raise ValueError(f"run_id is {pointer['run_id']!r}, expected the name of a folder")
        expected = folder_of(pointer["run_id"])
        if pointer["release"] != expected:
            raise ValueError(f"release is {pointer['release']!r}, expected {expected!r}")
        if not SHA256.fullmatch(str(pointer["manifest_sha256"])):
            raise ValueError(
                f"manifest_sha256 is {pointer['manifest_sha256']!r}, expected 64 hexadecimal digits"
            )
    except (ValueError, KeyError, TypeError) as error:
        raise ReleaseError(
            f"{POINTER} of {where} is not valid: {error!r}.",
            "Promote a release by hand: graft promote RELEASE.",
        ) from error
    return pointer

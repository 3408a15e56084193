"""manifest.json: what a release holds. It is written last, so a release without a valid one does not exist."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from job.errors import ReleaseError

SCHEMA = 1
NAME = "manifest.json"
# Logs are for people and may grow after the release: they are uploaded, but promise nothing.
LOGS = "logs/"

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "run_id": str,
    "files": dict,
    "settings": dict,
    "data": dict,
    "versions": dict,
    "plan": dict,
    "scores": dict,
    "exact": bool,
    "previous": (str, type(None)),
    "promotion": dict,
}


@dataclass(frozen=True, slots=True)
class Manifest:
    """A valid manifest, with the very bytes that it was read from or is written as."""

    fields: Mapping[str, Any]
    raw: bytes

    @classmethod
    def compose(
        cls, fields: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]]
    ) -> "Manifest":
        """Complete the caller's fields with the schema's number and the files, and write them down.

        Raises:
            ReleaseError: a field is missing or of another type.
        """
        complete = {"schema": SCHEMA, **fields, "files": dict(sorted(files.items()))}
        return cls.parse(
            json.dumps(complete, indent=2, ensure_ascii=False).encode() + b"\n", "the new release"
        )

    @classmethod
    def parse(cls, raw: bytes, where: str) -> "Manifest":
        """Read a manifest; `where` names it in errors.

        Raises:
            ReleaseError: it is no JSON object or does not follow the schema; all problems are
            listed.
        """
        try:
            fields = json.loads(raw)
        except ValueError as error:
            raise _invalid(where, (f"it is no JSON: {error}",)) from error
        if problems := tuple(_problems(fields)):
            raise _invalid(where, problems)
        return cls(fields, raw)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def run_id(self) -> str:
        return str(self.fields["run_id"])

    @property
    def files(self) -> Mapping[str, Mapping[str, Any]]:
        """By path: {"bytes": int, "sha256": str}."""
        files: Mapping[str, Mapping[str, Any]] = self.fields["files"]
        return files

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the outputs."""
        return tuple(self.fields["data"]["classes"])

    @property
    def previous(self) -> str | None:
        """SHA-256 of the manifest that was the champion when this run judged itself."""
        previous: str | None = self.fields["previous"]
        return previous

    @property
    def won(self) -> bool:
        """Whether the run decided to promote itself; the pointer may not have been written yet."""
        return bool(self.fields["promotion"].get("decision") == "promote")


def _problems(fields: Any) -> list[str]:
    if not isinstance(fields, dict):
        return ["it is no JSON object"]
    if fields.get("schema") != SCHEMA:
        return [f"schema is {fields.get('schema')!r}, expected {SCHEMA}"]
    wrong = [
        name
        for name, kind in _TYPES.items()
        if name not in fields or not isinstance(fields[name], kind)
    ]
    problems = [f"{name} is {'of another type' if name in fields else 'missing'}" for name in wrong]
    if "data" not in wrong and not isinstance(fields["data"].get("classes"), list):
        problems.append("data.classes is no list")
    return problems + ([] if "files" in wrong else _file_problems(fields["files"]))


def _file_problems(files: Mapping[str, Any]) -> list[str]:
    problems = []
    for path, entry in files.items():
        # The path becomes a key in the bucket and a file in a cache: it must stay below the
        # release.
        if (
            path.startswith(("/", LOGS))
            or path == NAME
            or "\\" in path
            or {"", ".", ".."} & set(path.split("/"))
        ):
            problems.append(f"files names {path!r}, which no release holds")
        elif (
            not isinstance(entry, dict)
            or not isinstance(entry.get("bytes"), int)
            or not isinstance(entry.get("sha256"), str)
        ):
            problems.append(f"files[{path!r}] lacks bytes or sha256")
    return problems


def _invalid(where: str, problems: tuple[str, ...]) -> ReleaseError:
    return ReleaseError(
        f"The manifest of {where} is not valid:",
        "A release without a valid manifest does not exist: run again.",
        problems,
    )

"""manifest.json: the content of a release. Without a valid one, a release does not exist."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from job import strict_json
from job.errors import ReleaseError

# Of the manifest and of the pointer: they change together.
SCHEMA = 1
MANIFEST = "manifest.json"
# Logs may grow after the release, so the manifest promises nothing about them.
LOGS = "logs/"

FIELD_TYPES: Mapping[str, type | tuple[type, ...]] = {
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
# Fields that only some versions of Graft write.
OPTIONAL_TYPES: Mapping[str, type] = {"backbone": dict, "weights": dict, "export_seconds": dict}
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """A valid manifest, with exactly the bytes that it was read from or is written as."""

    fields: Mapping[str, Any]
    raw: bytes

    @classmethod
    def compose(
        cls, fields: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]]
    ) -> "Manifest":
        """Add the schema's number and the files to the caller's fields, and serialize them.

        Raises:
            ReleaseError: a field is missing or of another type.
        """
        complete = {"schema": SCHEMA, **fields, "files": dict(sorted(files.items()))}
        raw = json.dumps(complete, indent=2, ensure_ascii=False).encode() + b"\n"
        # Parsed again, so that nothing is written which could not be read.
        return cls.parse(raw, "the new release")

    @classmethod
    def parse(cls, raw: bytes, where: str) -> "Manifest":
        """Read a manifest. `where` names it in errors.

        Raises:
            ReleaseError: it is not a JSON object or does not follow the schema. All problems are
                listed.
        """
        try:
            fields = strict_json.parse(raw)
        except ValueError as error:
            raise _invalid_manifest(where, [f"it is not JSON: {error}"]) from error
        if problems := _find_problems(fields):
            raise _invalid_manifest(where, problems)
        return cls(fields, raw)

    @property
    def sha256(self) -> str:
        """Of the manifest's own bytes."""
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
    def backbone(self) -> str:
        """The name of the backbone. Manifests of before it was measured have it as a setting."""
        chosen = self.fields.get("backbone", {}).get("name")
        return str(chosen or self.fields["settings"].get("GRAFT_BACKBONE_NAME", ""))

    @property
    def previous(self) -> str | None:
        """SHA-256 of the manifest that was the champion when this run was compared with it."""
        previous: str | None = self.fields["previous"]
        return previous

    @property
    def won(self) -> bool:
        """Whether the run decided to promote itself. The pointer may not have been written yet."""
        return bool(self.fields["promotion"].get("decision") == "promote")


def is_promised(path: str) -> bool:
    """Whether a file of a release belongs into its manifest."""
    return path != MANIFEST and not path.startswith(LOGS)


def is_plain_name(name: object) -> bool:
    """Whether something can be the name of a folder or a file, and leads nowhere else."""
    return isinstance(name, str) and name not in ("", ".", "..") and not re.search(r"[/\\\0]", name)


def _find_problems(fields: Any) -> list[str]:
    if not isinstance(fields, dict):
        return ["it is not a JSON object"]
    if fields.get("schema") != SCHEMA:
        return [f"schema is {fields.get('schema')!r}, expected {SCHEMA}"]
    problems = _find_type_problems(fields)
    problems += _find_data_problems(fields.get("data"))
    problems += _find_file_problems(fields.get("files"))
    # What follows looks into the other fields.
    if problems:
        return problems
    if not is_plain_name(fields["run_id"]):
        problems.append(f"run_id {fields['run_id']!r} is not the name of a folder")
    for name in ("scores", "export_seconds"):
        if not all(map(_is_number, fields.get(name, {}).values())):
            problems.append(f"{name} holds something else than numbers")
    return problems


def _find_type_problems(fields: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, expected_type in FIELD_TYPES.items():
        if name not in fields:
            problems.append(f"{name} is missing")
        elif not isinstance(fields[name], expected_type):
            problems.append(f"{name} is of another type")
    for name, expected_type in OPTIONAL_TYPES.items():
        if not isinstance(fields.get(name, {}), expected_type):
            problems.append(f"{name} is of another type")
    return problems


def _find_data_problems(data: Any) -> list[str]:
    if not isinstance(data, dict):
        return []
    problems = []
    classes = data.get("classes")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        problems.append("data.classes is not a list of names")
    elif len(set(classes)) != len(classes):
        problems.append("data.classes names a class twice")
    images = data.get("images", {})
    if not isinstance(images, dict) or not all(map(_is_number, images.values())):
        problems.append("data.images does not hold numbers")
    return problems


def _is_number(value: object) -> bool:
    # A bool is an int in Python.
    return isinstance(value, int | float) and not isinstance(value, bool)


def _find_file_problems(files: Any) -> list[str]:
    if not isinstance(files, dict):
        return []
    problems = []
    for path, entry in files.items():
        # The path becomes a key in the bucket and a file in a cache: it must stay inside the
        # release.
        leads_out = not all(map(is_plain_name, path.split("/")))
        if leads_out or not is_promised(path):
            problems.append(f"files names {path!r}, which is not a file of any release")
        elif (
            not isinstance(entry, dict)
            or not isinstance(entry.get("bytes"), int)
            or entry["bytes"] < 0
            or not SHA256.fullmatch(str(entry.get("sha256")))
        ):
            problems.append(f"files[{path!r}] lacks bytes or sha256")
    return problems


def _invalid_manifest(where: str, problems: list[str]) -> ReleaseError:
    return ReleaseError(
        f"The manifest of {where} is not valid:",
        "A release without a valid manifest does not exist: run again.",
        tuple(problems),
    )

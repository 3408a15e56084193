"""An OCI image layout: a folder of blobs by digest, with manifests and names.

It follows the OCI image specification 1.1. All JSON is written in one form, so equal content has
equal digests.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
REFERENCE = "org.opencontainers.image.ref.name"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What names a blob: its media type, its SHA-256 as `sha256:<hex>` and its size in bytes."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name in a layout, or nothing."""
        return self.annotations.get(REFERENCE, "")

    def as_dict(self) -> dict[str, Any]:
        described = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        return described | ({"annotations": dict(self.annotations)} if self.annotations else {})

    @classmethod
    def parse(cls, node: Mapping[str, Any]) -> "Descriptor":
        annotations = node.get("annotations") or {}
        return cls(node["mediaType"], node["digest"], node["size"], annotations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """The parts of a manifest. `kind` is its artifact type, empty for an image."""

    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    kind: str = ""
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


class Layout:
    """A layout in a folder, which is made if need be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._blobs = folder / "blobs" / "sha256"
        self._blobs.mkdir(parents=True, exist_ok=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        if not self._index.exists():
            self._write_index([])

    def add_blob(
        self, content: bytes, media_type: str, annotations: Mapping[str, str] | None = None
    ) -> Descriptor:
        digest = hashlib.sha256(content).hexdigest()
        (self._blobs / digest).write_bytes(content)
        return Descriptor(media_type, f"sha256:{digest}", len(content), annotations or {})

    def add_json(self, node: Any, media_type: str) -> Descriptor:
        return self.add_blob(encode_json(node), media_type)

    def add_manifest(self, artifact: Artifact) -> Descriptor:
        """Write a manifest, and list it unless a name will: referrers are found by that list."""
        config = artifact.config or self.add_json({}, EMPTY)
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.as_dict(),
            "layers": [layer.as_dict() for layer in artifact.layers],
        }
        if artifact.kind:
            manifest["artifactType"] = artifact.kind
        if artifact.subject:
            manifest["subject"] = strip_annotations(artifact.subject).as_dict()
        if artifact.annotations:
            manifest["annotations"] = dict(artifact.annotations)
        descriptor = self.add_json(manifest, MANIFEST)
        if artifact.subject:
            self._list_manifest(descriptor)
        return descriptor

    def tag(self, name: str, manifest: Descriptor) -> None:
        """Give a manifest a name. Another manifest of that name loses it."""
        others = [entry for entry in self.entries() if entry.name != name]
        named = Descriptor(manifest.media_type, manifest.digest, manifest.size, {REFERENCE: name})
        self._write_index([*others, named])

    def find(self, name: str) -> Descriptor:
        """The manifest of a name.

        Raises:
            KeyError: nothing has that name.
        """
        for entry in self.entries():
            if entry.name == name:
                return entry
        raise KeyError(name)

    def entries(self) -> list[Descriptor]:
        index = json.loads(self._index.read_text())
        return [Descriptor.parse(node) for node in index["manifests"]]

    def read(self, descriptor: Descriptor) -> bytes:
        return self.path(descriptor).read_bytes()

    def read_json(self, descriptor: Descriptor) -> Any:
        return json.loads(self.read(descriptor))

    def path(self, descriptor: Descriptor) -> Path:
        return self._blobs / descriptor.digest.removeprefix("sha256:")

    def drop_unused_blobs(self) -> None:
        """Delete the blobs that no listed manifest leads to."""
        used = set(self._walk_digests())
        for blob in self._blobs.iterdir():
            if f"sha256:{blob.name}" not in used:
                blob.unlink()

    def _walk_digests(self) -> Iterator[str]:
        for entry in self.entries():
            manifest = self.read_json(entry)
            yield entry.digest
            yield manifest["config"]["digest"]
            for layer in manifest["layers"]:
                yield layer["digest"]

    @property
    def _index(self) -> Path:
        return self.folder / "index.json"

    def _list_manifest(self, manifest: Descriptor) -> None:
        if manifest.digest not in [entry.digest for entry in self.entries()]:
            self._write_index([*self.entries(), manifest])

    def _write_index(self, entries: list[Descriptor]) -> None:
        ordered = sorted(entries, key=lambda entry: (entry.name or "~", entry.digest))
        index = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [entry.as_dict() for entry in ordered],
        }
        self._index.write_bytes(encode_json(index))


def encode_json(node: Any) -> bytes:
    """JSON in one form: sorted keys and no spaces."""
    return json.dumps(node, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def strip_annotations(descriptor: Descriptor) -> Descriptor:
    """The bare descriptor: a name in one place is nothing that a subject has."""
    return Descriptor(descriptor.media_type, descriptor.digest, descriptor.size)

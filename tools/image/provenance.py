"""What is attached to a published image: how it was built (SLSA) and what is in it (CycloneDX).

Both are artefacts whose subject is the image, so a registry lists them as its referrers. Signed,
they are also attestations in the form of cosign.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.image.oci import Artifact, Descriptor, Layout, encode_json
from tools.paths import ROOT

STATEMENT = "application/vnd.in-toto+json"
SBOM = "application/vnd.cyclonedx+json"
SLSA = "https://slsa.dev/provenance/v1"
CYCLONEDX = "https://cyclonedx.org/bom"
BUILD_TYPE = "urn:graft:make-publish:v1"
BUILDER = "urn:graft:make-publish"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the content came from.

    `revision` ends in -dirty if something is not committed. A base that was made here, of packages,
    has a digest and no name.
    """

    revision: str
    address: str = ""
    base_name: str = ""
    base_digest: str = ""
    files: tuple[str, ...] = ()


def describe_build(parameters: Mapping[str, str], source: Source) -> dict[str, Any]:
    """The predicate of SLSA provenance 1.0: what was asked for, and from what it was built."""
    commit = source.revision.removesuffix("-dirty")
    materials: list[dict[str, Any]] = []
    if commit:
        tree = {"name": "source", "digest": {"gitCommit": commit}}
        materials.append(tree | ({"uri": f"git+{source.address}"} if source.address else {}))
    if source.base_digest:
        base = {"name": "base", "digest": {"sha256": source.base_digest.removeprefix("sha256:")}}
        uri = {"uri": f"oci://{source.base_name}"} if source.base_name else {}
        materials.append(base | uri)
    for file in source.files:
        digest = hashlib.sha256((ROOT / file).read_bytes()).hexdigest()
        materials.append({"name": file, "digest": {"sha256": digest}})
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": dict(parameters),
            "internalParameters": {"uncommitted": source.revision.endswith("-dirty")},
            "resolvedDependencies": materials,
        },
        "runDetails": {"builder": {"id": BUILDER}},
    }


def make_statement(name: str, image: Descriptor, kind: str, predicate: Any) -> bytes:
    """An in-toto statement 1.0 about an image."""
    subject = {"name": name, "digest": {"sha256": image.digest.removeprefix("sha256:")}}
    return encode_json(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [subject],
            "predicateType": kind,
            "predicate": predicate,
        }
    )


def attach_file(layout: Layout, subject: Descriptor, content: bytes, kind: str) -> Descriptor:
    """A referrer of the subject that holds one file."""
    layer = layout.add_blob(content, kind)
    return layout.add_manifest(Artifact(layers=(layer,), kind=kind, subject=subject))


def read_inventory(file: Path) -> bytes:
    """A bill of materials that the build wrote, in the one form of JSON."""
    return encode_json(json.loads(file.read_text()))

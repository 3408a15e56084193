"""An earlier release of ours as a source of weights: found, and the needed file checked against its manifest."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from job.errors import WeightsError
from job.storage import Store
from job.weights.fetching import from_store
from job.weights.hashes import Hashes

MANIFEST = "manifest.json"
POINTER = "promoted.json"
MODEL = "model.keras"


@dataclass(frozen=True, slots=True)
class Release:
    """A release's folder, with what its manifest says.

    Attributes:
        sha256: of its `model.keras`.
        classes: class names in the order of its outputs.
    """

    store: Store
    sha256: str
    classes: tuple[str, ...]

    @classmethod
    def find(cls, uri: str, open_store: Callable[[str], Store]) -> "Release":
        """The release at `uri`: its own folder, or a model's folder or `promoted.json`, which mean its champion.

        Raises:
            WeightsError: there is neither, or what is there is not valid.
        """
        store = open_store(uri.rstrip("/").removesuffix(f"/{POINTER}"))
        try:
            if store.head(MANIFEST):
                return cls._parse(store, store.read(MANIFEST))
            if store.head(POINTER):
                return cls._champion(store)
        except (ValueError, KeyError, TypeError) as error:
            raise WeightsError(
                f"The release at {uri} is not valid: {error!r}.",
                "Name a release that `graft verify` accepts.",
            ) from error
        raise WeightsError(
            f"There is no release at {uri}; expected {MANIFEST} or {POINTER} there.",
            "Give <output uri>/<name>, which means its champion, or <output uri>/<name>/releases/<run id>. "
            "A first run has to start from `imagenet`.",
        )

    @classmethod
    def _champion(cls, model: Store) -> "Release":
        pointer = json.loads(model.read(POINTER))
        store = model.child(pointer["release"])
        raw = store.read(MANIFEST)
        if hashlib.sha256(raw).hexdigest() != pointer["manifest_sha256"]:
            raise ValueError(f"its manifest is not the one that {POINTER} means")
        return cls._parse(store, raw)

    @classmethod
    def _parse(cls, store: Store, raw: bytes) -> "Release":
        manifest: dict[str, Any] = json.loads(raw)
        if MODEL not in manifest["files"]:
            raise WeightsError(
                f"The release {store.uri} has no {MODEL}, which is what training continues from.",
                "Name a release that was made with `keras` among GRAFT_EXPORT_FORMATS.",
            )
        return cls(store, manifest["files"][MODEL]["sha256"], tuple(manifest["data"]["classes"]))

    def bring(self, folder: Path) -> Path:
        """Its `model.keras` on this disk, verified.

        Raises:
            StoreNotFound: the file is not there, although the manifest says so.
            WeightsError: the file is not the one that the manifest promises.
        """
        path = from_store(self.store, MODEL, folder)
        received = Hashes.of(path).sha256
        if received != self.sha256:
            raise WeightsError(
                f"{self.store.uri}/{MODEL} is damaged. Received SHA-256 {received}; its manifest says {self.sha256}.",
                "Name another release, or restore this one.",
            )
        return path

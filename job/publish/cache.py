"""A verified local copy of a part of a release."""

from pathlib import Path

from job.errors import ReleaseError
from job.files import sha256 as sha256_of
from job.publish.manifest import Manifest
from job.publish.releasing import in_parallel
from job.storage import Store, download


def bring(store: Store, manifest: Manifest, part: str, cache: Path) -> Path:
    """Download one file of a release, or all below the folder `part`, unless they are there already.

    Returns:
        the local file or folder, with the SHA-256 that the manifest says.

    Raises:
        ReleaseError: a file is missing or damaged in the store, or the release has no such part.
    """
    folder = cache / "releases" / manifest.sha256
    names = [name for name in manifest.files if name == part or name.startswith(f"{part}/")]
    if not names:
        raise ReleaseError(
            f"{store.uri} has no {part}.", "Export it: add it to GRAFT_EXPORT_FORMATS."
        )
    in_parallel(
        lambda name: _bring(store, name, manifest.files[name]["sha256"], folder / name), names
    )
    return folder / part


def _bring(store: Store, name: str, sha256: str, path: Path) -> None:
    if path.is_file() and sha256_of(path) == sha256:
        return
    entry = store.head(name)
    if entry is None:
        raise _damaged(store, f"{name} is missing")
    path.parent.mkdir(parents=True, exist_ok=True)
    download(store, name, path, entry)
    if sha256_of(path) != sha256:
        path.unlink()
        raise _damaged(store, f"{name} has another sha256 than its manifest says")


def _damaged(store: Store, what: str) -> ReleaseError:
    return ReleaseError(
        f"{store.uri} is damaged: {what}.", "Promote an intact release: graft promote RELEASE."
    )

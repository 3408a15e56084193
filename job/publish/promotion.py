"""Carry out a decision to promote, finish one that was cut off, or promote by hand."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import uuid4

from job.errors import ReleaseError, SettingsError, StoreConflict, TemporaryError
from job.publish.champion import (
    MANUAL,
    Champion,
    is_champion,
    is_replaced,
    read_champion,
    write_pointer,
)
from job.publish.decision import Decision
from job.publish.releasing import ATTEMPTS
from job.publish.verification import verify
from job.publish.versions import follow_champion
from job.release import Manifest, folder_of
from job.storage import Store, connect

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PromotionState:
    """Whether a finished release is the champion now.

    Attributes:
        promoted: whether it is.
        reason: why not, as the beginning of a sentence, else empty.
    """

    promoted: bool
    reason: str = ""


def promote(
    registry: Store,
    manifest: Manifest,
    decision: Decision,
    decide_again: Callable[[Champion | None], Decision],
) -> Decision:
    """Carry out a decision by one conditional write of the pointer.

    Args:
        registry: the store that holds the pointer.
        manifest: the challenger's.
        decision: carried out only if it says so, and only over the champion that it was made
            against.
        decide_again: decides against another champion, when one came in between.

    Returns:
        the decision that was carried out. Not to promote it, where another worker or attempt has
        done so, and another champion has taken its place since.

    Raises:
        TemporaryError: others kept changing the champion, or deleted the release.
    """
    for _ in range(ATTEMPTS):
        if not decision.promote or is_champion(manifest, decision.champion):
            return decision
        try:
            write_pointer(registry, manifest, decision.record(), decision.champion)
        except StoreConflict:
            logger.info("The champion changed in the meantime: comparing with the present one.")
            champion = read_champion(registry)
            if is_champion(manifest, champion):
                return decision  # The answer to our own write was lost, but not the write.
            if is_replaced(manifest, champion):
                # To decide again would undo what a person or a later run has chosen since.
                reason = "It was promoted meanwhile, and the champion after it stays."
                return replace(decision, promote=False, reason=reason)
            decision = decide_again(champion)
        except ReleaseError as error:
            raise _explain_deletion(error) from error
        else:
            return decision
    raise _contended_champion(registry)


def finish_promotion(registry: Store, manifest: Manifest) -> PromotionState:
    """Finish a promotion that was cut off between manifest and pointer.

    A later choice by hand is left as it is.

    Raises:
        TemporaryError: the release was deleted meanwhile.
    """
    champion = read_champion(registry)
    if not is_champion(manifest, champion) and is_promotion_due(manifest, champion):
        try:
            write_pointer(registry, manifest, manifest.fields["promotion"], champion)
        except StoreConflict:
            champion = read_champion(registry)
        except ReleaseError as error:
            raise _explain_deletion(error) from error
        else:
            return PromotionState(promoted=True)

    if is_champion(manifest, champion):
        return PromotionState(promoted=True)
    if champion and champion.chosen_by_hand:
        chosen = champion.pointer["release"]
        return PromotionState(
            promoted=False, reason=f"the champion was chosen by hand: {chosen} stays"
        )
    return PromotionState(promoted=False, reason="it is not the champion")


def is_promotion_due(manifest: Manifest, champion: Champion | None) -> bool:
    """Whether a release has won, and the pointer is still exactly the one that it won against.

    The champion's manifest is not enough: after a roll-back by hand it is the champion's again.
    """
    if not manifest.won:
        return False
    if champion is None or not champion.pointer:
        return manifest.previous is None
    promotion = manifest.fields["promotion"]
    if "against" in promotion:
        return bool(promotion["against"] == champion.pointer_sha256)
    # A release of an earlier version of Graft does not record whether a choice by hand came before
    # or after it.
    return champion.sha256 == manifest.previous and not champion.chosen_by_hand


def promote_manually(
    uri: str, reason: str = "Promoted by hand.", rolled_back_from: str = ""
) -> str:
    """`graft promote RELEASE`: make a verified release the champion, whatever the scores say.

    This is also the way to roll back. Where versions are kept for servers, it is the newest one
    afterwards.

    Args:
        uri: `<output uri>/<name>/releases/<run id>`.
        reason: one sentence for the pointer.
        rolled_back_from: run id of the champion that this takes back, if it does.

    Returns:
        the release's URI.

    Raises:
        ReleaseNotFound: there is no such release.
        ReleaseError: it does not verify, or it was deleted in the meantime.
        SettingsError: the URI is not that of a release.
        TemporaryError: others kept changing the champion.
    """
    parent, _, run_id = uri.rstrip("/").rpartition("/")
    if not parent.endswith("/releases"):
        raise SettingsError(
            f"Received {uri!r}; expected the URI of a release.",
            "Give <output uri>/<name>/releases/<run id>.",
        )
    registry = connect(parent.removesuffix("/releases"))
    verified = verify(registry.child(folder_of(run_id)).uri)

    # Written even where it is the champion already: from now on a person has chosen it.
    choice = {
        "by": MANUAL,
        "reason": reason,
        "comparison": None,
        "choice": uuid4().hex,
    }
    if rolled_back_from:
        choice["rolled_back_from"] = rolled_back_from
    for _ in range(ATTEMPTS):
        champion = read_champion(registry)
        if champion and champion.pointer.get("choice") == choice["choice"]:
            break  # The answer to our own write was lost, but not the write.
        try:
            write_pointer(registry, verified.manifest, choice, champion)
        except StoreConflict:
            logger.info("The champion changed in the meantime: trying again.")
        else:
            break
    else:
        raise _contended_champion(registry)
    follow_champion(registry)
    return verified.store.uri


def _explain_deletion(error: ReleaseError) -> TemporaryError:
    """The error of a run whose release was deleted before it became the champion."""
    return TemporaryError(error.message, "Run again: the release is made once more.")


def _contended_champion(registry: Store) -> TemporaryError:
    return TemporaryError(
        f"The champion of {registry.uri} changed {ATTEMPTS} times.",
        "Run again when other runs have ended.",
    )

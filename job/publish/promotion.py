"""Who is the champion: decided from scores, written as one conditional write of promoted.json."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from job.errors import ReleaseError, SettingsError, StoreConflict, TemporaryError
from job.publish.comparison import Comparison
from job.publish.manifest import SCHEMA, Manifest
from job.publish.releasing import ATTEMPTS, folder_of
from job.publish.verification import POINTER, follow, parse_pointer, verify
from job.settings import GateSettings
from job.storage import Store, connect

logger = logging.getLogger(__name__)

# Below this an interval is so wide that losing to the champion would be chance.
LEAST_COMPARABLE = 30
MANUAL = "manual"
GATE_ALONE = "It passes the gate, which decides alone:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """What promoted.json names.

    Attributes:
        pointer: its content; empty if it is not valid.
        pointer_sha256: SHA-256 of its bytes; two choices by hand never have the same.
        etag: its version, for the conditional write.
        store: rooted at the champion's release; None if there is no such release.
        manifest: the champion's; None likewise.
        damage: why there is no such release, else empty.
    """

    pointer: Mapping[str, Any]
    pointer_sha256: str
    etag: str
    store: Store | None
    manifest: Manifest | None
    damage: str = ""

    @property
    def sha256(self) -> str | None:
        """SHA-256 of the manifest that the pointer names."""
        return self.pointer.get("manifest_sha256")

    @property
    def by_hand(self) -> bool:
        """Whether a person chose it with `graft promote`."""
        return self.pointer.get("by") == MANUAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether to promote, and why.

    Attributes:
        promote: the outcome.
        by: `gate` (its own score alone) or `comparison` (with the champion).
        reason: one sentence for people.
        comparison: both models on the same images, where they were compared.
        against: the champion that this was decided against; None if there was none.
    """

    promote: bool
    by: str
    reason: str
    comparison: Comparison | None
    against: Champion | None

    @property
    def previous(self) -> str | None:
        """The manifest's field `previous`: SHA-256 of the manifest of the champion that this was decided against."""
        return self.against.sha256 if self.against else None

    def record(self) -> dict[str, Any]:
        """The manifest's field `promotion`."""
        return {
            "decision": "promote" if self.promote else "keep",
            "by": self.by,
            "reason": self.reason,
            "comparison": self.comparison.record() if self.comparison else None,
            "against": self.against.pointer_sha256 if self.against else None,
        }


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a finished release is the champion now.

    Attributes:
        promoted: whether it is.
        reason: why not, as the beginning of a sentence; else empty.
    """

    promoted: bool
    reason: str = ""


def champion(model: Store) -> Champion | None:
    """The present champion, or None before the first promotion. A damaged one is returned with its damage."""
    entry = model.head(
        POINTER
    )  # before the content: should it change in between, the conditional write loses
    if entry is None:
        return None
    raw = model.read(POINTER)
    pointer: Mapping[str, Any] = {}
    store, manifest, damage = None, None, ""
    try:
        pointer = parse_pointer(raw, model.uri)
        store, manifest = follow(model, raw)
    except ReleaseError as error:
        logger.warning("The champion is damaged: %s", error)
        damage = error.message
    return Champion(
        pointer=pointer,
        pointer_sha256=hashlib.sha256(raw).hexdigest(),
        etag=entry.etag,
        store=store,
        manifest=manifest,
        damage=damage,
    )


def decide(
    gate: GateSettings,
    score: float,
    against: Champion | None,
    compare: Callable[[Store, Manifest], Comparison],
) -> Decision:
    """Promote a challenger that passes the gate and is not worse than the champion by more than the tolerance.

    Args:
        gate: the settings of the gate.
        score: the challenger's `gate.metric` on all of today's test images.
        against: the present champion.
        compare: judges the champion's release again; called only where it matters.
    """
    if score < gate.min_score:
        reason = f"{gate.metric} {score:.4f} is below the gate of {gate.min_score:.4f}."
        return Decision(promote=False, by="gate", reason=reason, comparison=None, against=against)
    if against is None:
        return _by_gate("It passes the gate, and there is no champion yet.", None, against)
    if against.store is None or against.manifest is None:
        return _by_gate(f"{GATE_ALONE} the champion is damaged: {against.damage}", None, against)
    try:
        comparison = compare(against.store, against.manifest)
    except ReleaseError as error:
        return _by_gate(
            f"{GATE_ALONE} the champion cannot be judged: {error.message}", None, against
        )
    return _by_comparison(gate, comparison, against)


def _by_gate(reason: str, comparison: Comparison | None, against: Champion | None) -> Decision:
    return Decision(promote=True, by="gate", reason=reason, comparison=comparison, against=against)


def _by_comparison(gate: GateSettings, comparison: Comparison, against: Champion) -> Decision:
    ours, theirs = comparison.challenger, comparison.champion
    if ours is None or theirs is None or comparison.images < LEAST_COMPARABLE:
        why = f"{comparison.images} of today's test images are new to the champion, fewer than {LEAST_COMPARABLE}."
        return _by_gate(f"{GATE_ALONE} {why}", comparison, against)
    wins = ours >= theirs - gate.tolerance
    reason = (
        f"{gate.metric} {ours:.4f} {'against' if wins else 'does not reach'} the champion's {theirs:.4f} on the same "
        f"{comparison.images} images (tolerance {gate.tolerance:g})."
    )
    return Decision(
        promote=wins, by="comparison", reason=reason, comparison=comparison, against=against
    )


def promote(
    model: Store,
    manifest: Manifest,
    decision: Decision,
    again: Callable[[Champion | None], Decision],
) -> Decision:
    """Carry a decision out: one conditional write of the pointer.

    Args:
        model: the model's store.
        manifest: the challenger's.
        decision: carried out only if it says so, and only over the champion that it was made
            against.
        again: decides against another champion, when one came in between.

    Returns:
        the decision that was carried out.

    Raises:
        TemporaryError: others kept changing the champion.
    """
    for _ in range(ATTEMPTS):
        if not decision.promote or _is_champion(manifest, decision.against):
            return decision
        try:
            _write_pointer(model, manifest, decision.record(), decision.against)
        except StoreConflict:
            logger.info("The champion changed in the meantime: comparing with the present one.")
            against = champion(model)
            if _is_champion(manifest, against):
                return decision  # our own write had arrived after all
            decision = again(against)
        else:
            return decision
    raise _contested(model)


def finish_promotion(model: Store, manifest: Manifest) -> Standing:
    """Finish a promotion that was cut between manifest and pointer. A later choice by hand is left as it is."""
    against = champion(model)
    if not _is_champion(manifest, against) and _is_due(manifest, against):
        try:
            _write_pointer(model, manifest, manifest.fields["promotion"], against)
        except StoreConflict:
            against = champion(model)
        else:
            return Standing(promoted=True)
    if _is_champion(manifest, against):
        return Standing(promoted=True)
    if against and against.by_hand:
        return Standing(
            promoted=False,
            reason=f"the champion was chosen by hand: {against.pointer['release']} stays",
        )
    return Standing(promoted=False, reason="it is not the champion")


def _is_due(manifest: Manifest, against: Champion | None) -> bool:
    """Whether a release has won, and the pointer is still the very one that it has won against.

    The champion's manifest alone does not tell: after a roll-back by hand it is the champion's
    again.
    """
    if not manifest.won:
        return False
    if against is None or not against.pointer:
        return manifest.previous is None
    recorded = manifest.fields["promotion"]
    if "against" in recorded:
        return bool(recorded["against"] == against.pointer_sha256)
    # A release of an earlier version of Graft: nothing tells whether a choice by hand came before
    # it or after it.
    return against.sha256 == manifest.previous and not against.by_hand


def promote_manually(uri: str) -> str:
    """`graft promote RELEASE`: make a verified release the champion whatever the scores say; also for rolling back.

    Args:
        uri: `<output uri>/<name>/releases/<run id>`.

    Returns:
        the release's URI.

    Raises:
        ReleaseError: it does not verify.
        SettingsError: the URI is not that of a release.
        TemporaryError: others kept changing the champion.
    """
    parent, _, run_id = uri.rstrip("/").rpartition("/")
    if not parent.endswith("/releases"):
        raise SettingsError(
            f"Received {uri!r}; expected the URI of a release.",
            "Give <output uri>/<name>/releases/<run id>.",
        )
    model = connect(parent.removesuffix("/releases"))
    verified = verify(model.child(folder_of(run_id)))
    # Also where it is the champion already: from now on a person has chosen it.
    choice = {
        "by": MANUAL,
        "reason": "Promoted by hand.",
        "comparison": None,
        "choice": uuid4().hex,
    }
    for _ in range(ATTEMPTS):
        against = champion(model)
        if against and against.pointer.get("choice") == choice["choice"]:
            return verified.store.uri  # our own write had arrived after all
        try:
            _write_pointer(model, verified.manifest, choice, against)
        except StoreConflict:
            logger.info("The champion changed in the meantime: trying again.")
        else:
            return verified.store.uri
    raise _contested(model)


def _contested(model: Store) -> TemporaryError:
    return TemporaryError(
        f"The champion of {model.uri} changed {ATTEMPTS} times.",
        "Run again when other runs have ended.",
    )


def _is_champion(manifest: Manifest, against: Champion | None) -> bool:
    return against is not None and against.sha256 == manifest.sha256


def _write_pointer(
    model: Store, manifest: Manifest, promotion: Mapping[str, Any], against: Champion | None
) -> None:
    pointer = {
        "schema": SCHEMA,
        "run_id": manifest.run_id,
        "manifest_sha256": manifest.sha256,
        "release": folder_of(manifest.run_id),
        "by": promotion["by"],
        "reason": promotion["reason"],
        "comparison": promotion["comparison"],
        "previous": _earlier_champion(manifest, against),
    }
    if "choice" in promotion:
        # Unique: the same release chosen by hand once more is another pointer.
        pointer["choice"] = promotion["choice"]
    raw = json.dumps(pointer, indent=2, ensure_ascii=False).encode() + b"\n"
    model.write_if(POINTER, raw, against.etag if against else None)
    logger.info("Promoted.", extra={"fields": {"run_id": manifest.run_id, "by": promotion["by"]}})


def _earlier_champion(manifest: Manifest, against: Champion | None) -> Any:
    """The pointer's field `previous`: the champion before this release, None if there was none."""
    if against is None or _is_champion(manifest, against):
        return against and against.pointer.get("previous")
    return {name: against.pointer.get(name) for name in ("run_id", "manifest_sha256")}

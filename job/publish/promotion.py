"""Who is the champion: decided from scores, written as one conditional write of promoted.json."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Champion:
    """What promoted.json names.

    Attributes:
        pointer: its content; empty if it is not valid.
        etag: its version, for the conditional write.
        store: rooted at the champion's release; None if there is no such release.
        manifest: the champion's; None likewise.
        damage: why there is no such release, else empty.
    """

    pointer: Mapping[str, Any]
    etag: str
    store: Store | None
    manifest: Manifest | None
    damage: str = ""

    @property
    def sha256(self) -> str | None:
        """SHA-256 of the manifest that the pointer names."""
        return self.pointer.get("manifest_sha256")


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to promote, and why.

    Attributes:
        promote: the outcome.
        by: `gate` (its own score alone), `comparison` (with the champion) or `manual`.
        reason: one sentence for people.
        comparison: both models on the same images, where they were compared.
        previous: SHA-256 of the manifest of the champion that this was decided against; None if
            there was none.
    """

    promote: bool
    by: str
    reason: str
    comparison: Comparison | None
    previous: str | None

    def record(self) -> dict[str, Any]:
        """The manifest's field `promotion`; `previous` is a field of its own there."""
        return {
            "decision": "promote" if self.promote else "keep",
            "by": self.by,
            "reason": self.reason,
            "comparison": self.comparison.record() if self.comparison else None,
        }


def champion(model: Store) -> Champion | None:
    """The present champion, or None before the first promotion. A damaged one is returned with its damage."""
    entry = model.head(
        POINTER
    )  # before the content: should it change in between, the conditional write loses
    if entry is None:
        return None
    raw = model.read(POINTER)
    pointer: Mapping[str, Any] = {}
    try:
        pointer = parse_pointer(raw, model.uri)
        store, manifest = follow(model, raw)
    except ReleaseError as error:
        logger.warning("The champion is damaged: %s", error)
        return Champion(pointer, entry.etag, None, None, error.message)
    return Champion(pointer, entry.etag, store, manifest)


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
    previous = against.sha256 if against else None
    if score < gate.min_score:
        reason = f"{gate.metric} {score:.4f} is below the gate of {gate.min_score:.4f}."
        return Decision(False, "gate", reason, None, previous)
    if against is None:
        return Decision(
            True, "gate", "It passes the gate, and there is no champion yet.", None, previous
        )
    if against.store is None or against.manifest is None:
        return _by_gate(f"the champion is damaged: {against.damage}", None, previous)
    try:
        comparison = compare(against.store, against.manifest)
    except ReleaseError as error:
        return _by_gate(f"the champion cannot be judged: {error.message}", None, previous)
    return _weigh(gate, comparison, previous)


def _by_gate(why: str, comparison: Comparison | None, previous: str | None) -> Decision:
    return Decision(
        True, "gate", f"It passes the gate, which decides alone: {why}", comparison, previous
    )


def _weigh(gate: GateSettings, comparison: Comparison, previous: str | None) -> Decision:
    ours, theirs = comparison.challenger, comparison.champion
    if ours is None or theirs is None or comparison.images < LEAST_COMPARABLE:
        why = f"{comparison.images} of today's test images are new to the champion, fewer than {LEAST_COMPARABLE}."
        return _by_gate(why, comparison, previous)
    wins = ours >= theirs - gate.tolerance
    reason = (
        f"{gate.metric} {ours:.4f} {'against' if wins else 'does not reach'} the champion's {theirs:.4f} on the same "
        f"{comparison.images} images (tolerance {gate.tolerance:g})."
    )
    return Decision(wins, "comparison", reason, comparison, previous)


def promote(
    model: Store,
    manifest: Manifest,
    against: Champion | None,
    decision: Decision,
    again: Callable[[Champion | None], Decision],
) -> Decision:
    """Carry a decision out: one conditional write of the pointer.

    Args:
        model: the model's store.
        manifest: the challenger's.
        against: the champion that `decision` was made against.
        decision: carried out only if it says so.
        again: decides against another champion, when one came in between.

    Returns:
        the decision that was carried out.

    Raises:
        TemporaryError: other runs kept changing the champion.
    """
    for _ in range(ATTEMPTS):
        if not decision.promote or _is(against, manifest):
            return decision
        try:
            _point(model, manifest, decision.record(), against)
        except StoreConflict:
            logger.info("Another run was promoted in the meantime: comparing with it.")
            against = champion(model)
            if not _is(against, manifest):  # else our own write had arrived after all
                decision = again(against)
        else:
            return decision
    raise TemporaryError(
        f"The champion of {model.uri} changed {ATTEMPTS} times.",
        "Run again when other runs have ended.",
    )


def finish_promotion(model: Store, manifest: Manifest) -> bool:
    """Finish a promotion that was cut between manifest and pointer. Returns whether the release is the champion now."""
    against = champion(model)
    if _is(against, manifest):
        return True
    if not manifest.won or (against.sha256 if against else None) != manifest.previous:
        return False
    try:
        _point(model, manifest, manifest.fields["promotion"], against)
    except StoreConflict:
        return _is(champion(model), manifest)
    return True


def promote_manually(uri: str) -> str:
    """`graft promote RELEASE`: make a verified release the champion whatever the scores say; also for rolling back.

    Args:
        uri: `<output uri>/<name>/releases/<run id>`.

    Returns:
        the release's URI.

    Raises:
        ReleaseError: it does not verify.
        SettingsError: the URI is not that of a release.
    """
    parent, _, run_id = uri.rstrip("/").rpartition("/")
    if not parent.endswith("/releases"):
        raise SettingsError(
            f"Received {uri!r}; expected the URI of a release.",
            "Give <output uri>/<name>/releases/<run id>.",
        )
    model = connect(parent.removesuffix("/releases"))
    verified = verify(model.child(folder_of(run_id)))
    against = champion(model)
    decision = Decision(
        True, "manual", "Promoted by hand.", None, against.sha256 if against else None
    )
    promote(model, verified.manifest, against, decision, again=lambda _: decision)
    return verified.store.uri


def _is(against: Champion | None, manifest: Manifest) -> bool:
    return against is not None and against.sha256 == manifest.sha256


def _point(
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
        "previous": against
        and {name: against.pointer.get(name) for name in ("run_id", "manifest_sha256")},
    }
    raw = json.dumps(pointer, indent=2, ensure_ascii=False).encode() + b"\n"
    model.write_if(POINTER, raw, against.etag if against else None)
    logger.info("Promoted.", extra={"fields": {"run_id": manifest.run_id, "by": promotion["by"]}})

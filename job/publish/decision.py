"""Whether a challenger becomes the champion, decided from scores."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from job.errors import ReleaseError
from job.publish.champion import Champion
from job.publish.comparison import Comparison
from job.release import Manifest
from job.settings import GateSettings
from job.storage import Store

# Below this the interval is so wide that losing to the champion would be chance.
LEAST_COMPARABLE = 30
GATE_ALONE = "It passes the gate, which decides alone:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether to promote, and why.

    Attributes:
        promote: the outcome.
        by: `gate` (its own score alone) or `comparison` (with the champion).
        reason: one sentence for people.
        comparison: both models on the same images, where they were compared.
        champion: the one that this was decided against. None if there was none.
    """

    promote: bool
    by: str
    reason: str
    comparison: Comparison | None
    champion: Champion | None

    @property
    def previous(self) -> str | None:
        """The manifest's field `previous`: SHA-256 of the manifest of that champion."""
        return self.champion.sha256 if self.champion else None

    def record(self) -> dict[str, Any]:
        """The manifest's field `promotion`."""
        return {
            "decision": "promote" if self.promote else "keep",
            "by": self.by,
            "reason": self.reason,
            "comparison": self.comparison.record() if self.comparison else None,
            "against": self.champion.pointer_sha256 if self.champion else None,
        }


def decide(
    gate: GateSettings,
    score: float,
    champion: Champion | None,
    compare: Callable[[Store, Manifest], Comparison],
) -> Decision:
    """Promote a challenger that passes the gate and is not worse than the champion.

    Worse means: by more than the tolerance, by the evidence that the gate asks for.

    Args:
        gate: the settings of the gate.
        score: the challenger's `gate.metric` on all of today's test images.
        champion: the present one.
        compare: evaluates the champion's release on today's images. Called only where its answer
            counts.
    """
    if missed := explain_missed_gate(gate, score):
        return Decision(promote=False, by="gate", reason=missed, comparison=None, champion=champion)
    if champion is None:
        return _promote_by_gate("It passes the gate, and there is no champion yet.", None)
    if champion.store is None or champion.manifest is None:
        return _promote_by_gate(
            f"{GATE_ALONE} the champion is damaged: {champion.damage}", champion
        )
    try:
        comparison = compare(champion.store, champion.manifest)
    except ReleaseError as error:
        return _promote_by_gate(
            f"{GATE_ALONE} the champion cannot be judged: {error.message}", champion
        )
    return decide_by_comparison(gate, comparison, champion)


def explain_missed_gate(gate: GateSettings, score: float) -> str:
    """Why a test score does not pass the gate, as a sentence. Empty if it passes."""
    if score >= gate.min_score:
        return ""
    return f"{gate.metric} {score:.4f} is below the gate of {gate.min_score:.4f}."


def decide_by_comparison(
    gate: GateSettings, comparison: Comparison, champion: Champion | None
) -> Decision:
    """Decide by the scores of both models on the same images, if there are enough of them.

    Args:
        gate: the settings of the gate, which the challenger passes.
        comparison: both models on the same images.
        champion: the one that was compared.
    """
    ours, theirs = comparison.challenger, comparison.champion
    low, high = comparison.low, comparison.high
    few = comparison.images < LEAST_COMPARABLE
    if few or ours is None or theirs is None or low is None or high is None:
        reason = (
            f"{GATE_ALONE} the champion has not learnt from {comparison.images} of today's test "
            f"images, fewer than {LEAST_COMPARABLE}."
        )
        return _promote_by_gate(reason, champion, comparison)

    scores = f"{gate.metric} {ours:.4f}"
    rival = f"the champion's {theirs:.4f} on the same {comparison.images} images"
    if gate.evidence == "interval":
        # Strictly, so that without a tolerance a model that changes nothing is not promoted.
        wins = low > -gate.tolerance
        verb = "is above" if wins else "is not above"
        reason = (
            f"{scores} against {rival}. The lower end of the difference, {low:+.4f} to "
            f"{high:+.4f} (95 %), {verb} minus the tolerance of {gate.tolerance:g}."
        )
    else:
        wins = ours >= theirs - gate.tolerance
        verb = "against" if wins else "does not reach"
        reason = f"{scores} {verb} {rival} (tolerance {gate.tolerance:g})."
    return Decision(
        promote=wins, by="comparison", reason=reason, comparison=comparison, champion=champion
    )


def _promote_by_gate(
    reason: str, champion: Champion | None, comparison: Comparison | None = None
) -> Decision:
    return Decision(
        promote=True, by="gate", reason=reason, comparison=comparison, champion=champion
    )

"""Choose the backbone by measurement: solved heads on a sample of the images.

By successive halving (arXiv 1502.07943): in each round the heads learn from more images, and the
better half of the candidates goes on.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from job.audit import Splits
from job.batches import collect_labels
from job.catalogue import BACKBONES
from job.errors import SettingsError
from job.linear import FeatureGroup, find_best, rotate_trial
from job.measurement.profile import compute_interval
from job.plurals import format_count
from job.scores import Labels
from job.selection.entrants import Entrant, build_entrant
from job.selection.rounds import draw_train, draw_val, list_kept, plan_rounds
from job.selection.rule import Judged, choose_metric, choose_winner
from job.settings import Settings
from job.training import TrainingContext
from job.weights import Weights

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneRow:
    """What was measured of one candidate.

    Attributes:
        name: a key of `BACKBONES`.
        parameters: of the backbone.
        milliseconds: that one image took on the machine of the run. None where it was not measured.
        image_size: side of the square input in pixels.
        metric: name of the score.
        score: of a solved head in the candidate's last round, with its 95 % interval. None where it
            took part in none.
        images: that this head has learnt from.
        judged: images that judged it.
        chosen: whether it won.
        reason: why it won or left.
    """

    name: str
    parameters: int
    milliseconds: float | None = None
    image_size: int
    metric: str
    score: float | None = None
    low: float | None = None
    high: float | None = None
    images: int = 0
    judged: int = 0
    chosen: bool = False
    reason: str = ""

    @property
    def points(self) -> float:
        """The score times 100."""
        return 100 * (self.score or 0.0)


@dataclass(frozen=True, slots=True)
class BackboneChoice:
    """The backbone that was chosen, a sentence why, and a row for each candidate."""

    name: str
    reason: str
    rows: tuple[BackboneRow, ...]

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "BackboneChoice":
        """From what `dataclasses.asdict` has made of a choice, perhaps through JSON."""
        rows = tuple(BackboneRow(**row) for row in facts["rows"])
        return cls(facts["name"], facts["reason"], rows)


def choose_backbone(
    settings: Settings,
    weights: Mapping[str, Weights],
    splits: Splits,
    context: TrainingContext,
) -> BackboneChoice:
    """Choose the best of several backbones, or the smallest one that is as good.

    The test images take no part.

    Args:
        settings: of the run, with the candidates and the limits.
        weights: of each candidate within the limit of parameters.
        splits: the images.
        context: keeps the features.

    Raises:
        SettingsError: no candidate is as quick as the limit asks.
        WeightsError: weights are damaged, or another network's.
    """
    metric = choose_metric(context.gate.metric, collect_labels(splits.train))
    halving = _Halving(splits=splits, metric=metric, context=context)
    limit = settings.backbone.most_milliseconds
    for name in dict.fromkeys(settings.backbone.candidates):
        halving.rows[name] = BackboneRow(
            name=name,
            parameters=BACKBONES[name].parameters,
            image_size=settings.backbone.find_size(name),
            metric=metric,
            reason="It has more parameters than the limit.",
        )
    for name, found in weights.items():
        entrant = build_entrant(name, settings, found, splits, context)
        halving.admit(entrant, limit)
    if not halving.entrants:
        raise _refuse_all(halving.rows, limit)
    return halving.run()


@dataclass(slots=True, kw_only=True)
class _Halving:
    """Rounds with fewer and fewer candidates.

    Attributes:
        splits: the images.
        metric: what compares the candidates.
        context: keeps the features.
        rows: what is known of each candidate.
        entrants: the candidates that are still in, by name.
    """

    splits: Splits
    metric: str
    context: TrainingContext
    rows: dict[str, BackboneRow] = field(default_factory=dict)
    entrants: dict[str, Entrant] = field(default_factory=dict)

    def admit(self, entrant: Entrant, limit: float | None) -> None:
        """Let a candidate take part, unless it takes more milliseconds than the limit."""
        name = entrant.name
        self._note(name, milliseconds=round(entrant.milliseconds, 1), reason="")
        if limit is not None and entrant.milliseconds > limit:
            self._note(name, reason="It takes more milliseconds than the limit.")
        else:
            self.entrants[name] = entrant

    def run(self) -> BackboneChoice:
        """Run the rounds, and choose among those that are left."""
        splits = self.splits
        order = draw_train(collect_labels(splits.train))
        sizes = plan_rounds(len(order), len(splits.classes))
        for number, size in enumerate(sizes):
            judged, labels = self._judge(sorted(order[:size]))
            if number + 1 == len(sizes) or len(judged) == 1:
                break
            self._drop_worse(judged, list_kept(judged, labels, self.metric))
        return self._finish(judged, labels)

    def _judge(self, places: Sequence[int]) -> tuple[list[Judged], Labels]:
        """Solve a head for each candidate, on the training images at these places.

        Returns:
            the candidates with their logits, and the labels of the images that judged.
        """
        splits = self.splits
        learnt = [splits.train[place] for place in places]
        labels = collect_labels(splits.val)
        val = [splits.val[place] for place in draw_val(labels, len(splits.classes))]
        judged = []
        for entrant in self.entrants.values():
            trial = entrant.set_trial(learnt, val, self.context)
            rotated = rotate_trial(trial, [FeatureGroup("", 0, entrant.last.dimensions)])
            best, logits = find_best(rotated, self.metric, (1.0,))
            low, high = compute_interval(self.metric, rotated.labels, logits)
            # Folds differ in size by one or two images.
            images = min(len(each.learnt) for each in trial.rounds)
            judges = len(rotated.labels)
            self._note(
                entrant.name, score=best.score, low=low, high=high, images=images, judged=judges
            )
            logger.info(
                "backbone %s: %s %.3f after %d images, on %d",
                entrant.name,
                self.metric,
                best.score,
                images,
                judges,
            )
            judged.append(Judged(entrant.name, self.rows[entrant.name].parameters, logits))
        return judged, rotated.labels

    def _drop_worse(self, judged: Sequence[Judged], kept: Sequence[str]) -> None:
        best = max(self.rows[one.name].points for one in judged)
        for one in judged:
            if one.name not in kept:
                row = self.rows[one.name]
                behind = best - row.points
                images = format_count(row.images, "image")
                reason = f"It left after {images}, {behind:.1f} points below the best."
                self._note(one.name, reason=reason)
                del self.entrants[one.name]

    def _finish(self, judged: Sequence[Judged], labels: Labels) -> BackboneChoice:
        winner = self.rows[choose_winner(judged, labels, self.metric).name]
        rivals = []
        for one in judged:
            row = self.rows[one.name]
            if row != winner:
                rivals.append(row)
                self._note(one.name, reason=_compare_rows(row, winner))
        reason = _describe_winner(winner, rivals)
        self._note(winner.name, reason=reason, chosen=True)
        logger.info("backbone %s was chosen: %s", winner.name, reason)
        return BackboneChoice(winner.name, reason, tuple(self.rows.values()))

    def _note(self, name: str, **facts: Any) -> None:
        """Change what is known of a candidate."""
        self.rows[name] = replace(self.rows[name], **facts)


def _compare_rows(row: BackboneRow, winner: BackboneRow) -> str:
    """Say in one sentence why a candidate of the last round was not chosen."""
    ahead = row.points - winner.points
    if row.parameters > winner.parameters and ahead >= 0:
        return f"It is {ahead:.1f} points better, within one standard error, and larger."
    return f"It is {-ahead:.1f} points below the chosen one."


def _describe_winner(winner: BackboneRow, rivals: Sequence[BackboneRow]) -> str:
    """Say in one sentence why a candidate was chosen."""
    metric = winner.metric.replace("_", " ")
    images = format_count(winner.judged, "image")
    own = f"{winner.name} reaches {winner.score:.3f} ({metric} on {images})"
    if not rivals:
        return f"{own}. No other candidate was left."
    best = max(rivals, key=lambda row: row.points)
    if best.points > winner.points:
        return (
            f"{own} and {best.name} {best.score:.3f}. That is within one standard error, and "
            f"{winner.name} is smaller."
        )
    return f"{own}, the next best candidate {best.score:.3f}."


def _refuse_all(rows: Mapping[str, BackboneRow], limit: float | None) -> SettingsError:
    measured = []
    for row in rows.values():
        if row.milliseconds is not None:
            measured.append(f"{row.name} takes {row.milliseconds} ms for an image")
    return SettingsError(
        f"GRAFT_BACKBONE_MOST_MILLISECONDS={limit} leaves no candidate on this machine:",
        "Raise the limit, add a smaller candidate, or set a smaller GRAFT_BACKBONE_IMAGE_SIZE.",
        tuple(measured),
    )

"""What could be retrained, and the work that each choice takes."""

from collections.abc import Sequence
from dataclasses import dataclass

from job.audit import Splits
from job.linear import LEAST_JUDGED
from job.measurement import Kind, Measurement
from job.model import Classifier, Cut, find_stage_ends
from job.settings import Pooling, TransferMode

# A training step costs three passes over the layers that are freed: the way back takes about twice
# the way forward.
PASSES_OF_A_STEP = 3
# How many of the last stages the candidates of mode `part` free, besides those that the profile
# points to.
USUAL_STAGES = (1, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to train a classifier.

    Attributes:
        name: for people, and unique.
        mode: what is retrained of the backbone.
        pooling: of the head.
        cut: the boundary of mode `part`.
        work: of all its epochs, counted in images times layers, as a share of one run of `all`.
        start: the part of it that is done before the first step: activations that are kept.
    """

    name: str
    mode: TransferMode
    pooling: Pooling
    cut: Cut | None
    work: float
    start: float = 0.0

    def count_work(self, share: float) -> float:
        """The work of a share of its epochs, from 0 to 1."""
        return self.start + share * (self.work - self.start) if share else 0.0


def list_candidates(
    classifier: Classifier,
    boundaries: Sequence[int],
    splits: Splits,
    epochs: int,
    views: int = 0,
) -> tuple[Candidate, ...]:
    """List the candidates of a race, those of mode `none` first and `all` last.

    Args:
        classifier: with a head that can be solved.
        boundaries: as `choose_boundaries` gives them.
        splits: their images count.
        epochs: of a candidate that is trained by steps.
        views: of each training image, through which frozen layers run once. 0: they run in every
            epoch. The disk plays no part, so that it does not decide who takes part in a race.
    """
    layers = classifier.cuts[-1].depth
    train, val = len(splits.train), len(splits.val)

    def count_start(frozen: int) -> float:
        """Images times layers before the first step, with so many layers frozen."""
        return float((views * train + val) * frozen) if views else 0.0

    def count_steps(frozen: int) -> float:
        """Images times layers of all epochs after that."""
        live = 0 if views else frozen
        freed = layers - frozen
        of_training = train * (live + PASSES_OF_A_STEP * freed)
        return float(epochs * (of_training + val * (live + freed)))

    most = count_steps(0)
    solved = (train + val) * layers / most
    pooling = classifier.spec.head.pooling
    found = [Candidate(name="none", mode="none", pooling=pooling, cut=None, work=solved)]
    ends = find_stage_ends(classifier.cuts)
    if pooling == "avg" and ends:
        stages: Pooling = "stages"
        found.append(
            Candidate(
                name="none, all stages",
                mode="none",
                pooling=stages,
                cut=None,
                work=solved,
            )
        )
    if pooling == "stages":
        # A head on all stages needs a frozen backbone.
        return tuple(found)
    for count in boundaries:
        cut = ends[-count]
        noun = "stage" if count == 1 else "stages"
        start = count_start(cut.depth)
        found.append(
            Candidate(
                name=f"part, {count} {noun}",
                mode="part",
                pooling=pooling,
                cut=cut,
                work=(start + count_steps(cut.depth)) / most,
                start=start / most,
            )
        )
    found.append(Candidate(name="all", mode="all", pooling=pooling, cut=None, work=1.0))
    return tuple(found)


def is_worth_a_race(kind: Kind, judged: int) -> bool:
    """Whether candidates are trained by steps at all.

    Few validation images cannot show that retraining helps. Where the data are like ImageNet, there
    is no other reason to expect it.

    Args:
        kind: of the data, as measured.
        judged: how many validation images there are.
    """
    return kind == "unlike" or judged >= LEAST_JUDGED


def choose_boundaries(measurement: Measurement) -> list[int]:
    """Choose how many of the last stages the candidates of mode `part` free, the fewest first.

    Args:
        measurement: its profile points to one of the boundaries.
    """
    # Without the row of all stages together.
    scores = [row.score for row in measurement.profile[:-1]]
    ends = len(scores) - 1
    counts = {count for count in USUAL_STAGES if count <= ends}
    best = scores.index(max(scores))
    # What comes after the stage that knows most of these classes has to be learnt again.
    after_best = len(scores) - 1 - best
    if after_best:
        counts.add(after_best)
    return sorted(counts)

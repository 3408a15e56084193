"""How often does each rule of the gate promote a model that is worse than the champion?

    python -m tools.bench.promotion

Prints Markdown. First it measures how far the errors of models of neighbouring nights agree: on
scikit-learn's digits, one learns from 500 images, the other from these and 10 % more, as linear
heads and as small networks with another seed. Then it draws nights: on each image both models are
right, one of them is, or none. The rule is the product's own, `publish.decision`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from job.evaluation.scores import RESAMPLES
from job.publish import Comparison
from job.publish.decision import decide_by_comparison
from job.settings import GateSettings

NIGHTS = 4_000
SEED = 20_261_128
CHAMPION_ACCURACY = 0.9
IMAGES = (100, 300, 1_000)
# Of the challenger's true accuracy to the champion's.
DIFFERENCES = (0.02, 0.01, 0.0, -0.01, -0.02, -0.05)
# Images that the earlier of two neighbouring models learns from, and what the next night adds.
LEARNT, ADDED, DRAWS = 500, 50, 10
RULES = (
    GateSettings(evidence="point", tolerance=0.0),
    GateSettings(evidence="point", tolerance=0.01),
    GateSettings(evidence="interval", tolerance=0.0),
    GateSettings(evidence="interval", tolerance=0.01),
    GateSettings(evidence="interval", tolerance=0.02),
)


@dataclass(frozen=True, slots=True)
class Night:
    """A challenger against a champion.

    Attributes:
        images: how many both are compared on.
        difference: of their true accuracies, challenger - champion.
        correlation: of the errors of two such models if they were equally good, from 0 to 1.
    """

    images: int
    difference: float
    correlation: float

    def outcome_shares(self) -> NDArray[np.float64]:
        """Shares of images by who is right, float64 [3].

        The challenger alone, the champion alone, both or none.
        """
        # The worse model is still right alone as often as one of two equal models would be.
        alone = (1 - self.correlation) * CHAMPION_ACCURACY * (1 - CHAMPION_ACCURACY)
        ours = alone + max(self.difference, 0)
        theirs = alone + max(-self.difference, 0)
        return np.array([ours, theirs, 1 - ours - theirs])


def main() -> None:
    """Print the measured correlations, and one table for each of them."""
    pair: dict[str, Callable[[int], Any]] = {
        "linear heads": lambda _: LogisticRegression(max_iter=1_000),
        "networks with another seed": lambda seed: MLPClassifier((64,), random_state=seed),
    }
    for name, make_model in pair.items():
        correlation, accuracy = measure_correlation(make_model)
        print(f"{name}: errors correlate by {correlation:.2f} at an accuracy of {accuracy:.3f}\n")
        print_table(correlation)


def print_table(correlation: float) -> None:
    """Print how often each rule promotes: one row per rule and number of images."""
    heads = " | ".join(f"{100 * difference:+.0f}" for difference in DIFFERENCES)
    print(f"| evidence | tolerance | images | {heads} |")
    print(f"| --- | --- | ---{' | ---' * len(DIFFERENCES)} |")
    shares = {}
    for images in IMAGES:
        for difference in DIFFERENCES:
            night = Night(images, difference, correlation)
            shares[images, difference] = simulate_shares(night, NIGHTS)
    for rule, gate in enumerate(RULES):
        for images in IMAGES:
            cells = " | ".join(f"{shares[images, each][rule]:.1%}" for each in DIFFERENCES)
            print(f"| {gate.evidence} | {gate.tolerance:g} | {images:,} | {cells} |")
    print()


def simulate_shares(night: Night, nights: int) -> list[float]:
    """For each rule, the share of simulated nights in which it promotes the challenger."""
    generator = np.random.default_rng(SEED)
    counts = generator.multinomial(night.images, night.outcome_shares(), size=nights)
    promoted = [0] * len(RULES)
    for ours_alone, theirs_alone, _ in counts.tolist():
        low, high = resample_interval(ours_alone, theirs_alone, night.images, generator)
        difference = (ours_alone - theirs_alone) / night.images
        comparison = Comparison(
            run_id="",
            metric="accuracy",
            challenger=CHAMPION_ACCURACY + difference,
            # Which of the other images both get right makes no difference to any rule.
            champion=CHAMPION_ACCURACY,
            low=low,
            high=high,
            images=night.images,
        )
        for rule, gate in enumerate(RULES):
            promoted[rule] += decide_by_comparison(gate, comparison, None).promote
    return [count / nights for count in promoted]


def resample_interval(
    ours_alone: int, theirs_alone: int, images: int, generator: np.random.Generator
) -> tuple[float, float]:
    """The interval of `evaluation.compare_paired` for accuracies, from counts instead of images.

    To draw images with replacement and count the kinds is to draw from a multinomial distribution.
    """
    neither = images - ours_alone - theirs_alone
    shares = np.array([ours_alone, theirs_alone, neither]) / images
    drawn = generator.multinomial(images, shares, size=RESAMPLES)
    differences = (drawn[:, 0] - drawn[:, 1]) / images
    low, high = np.quantile(differences, [0.025, 0.975])
    return float(low), float(high)


def measure_correlation(make_model: Callable[[int], Any]) -> tuple[float, float]:
    """The correlation of the errors of neighbouring nights, and the accuracy of the earlier one.

    Args:
        make_model: a classifier of scikit-learn from a seed.
    """
    pixels, labels = load_digits(return_X_y=True)
    correlations, accuracies = [], []
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(len(labels))
        tested = order[LEARNT + ADDED :]
        rights = []
        for night, learnt in enumerate((order[:LEARNT], order[: LEARNT + ADDED])):
            model = make_pipeline(StandardScaler(), make_model(2 * draw + night))
            model.fit(pixels[learnt], labels[learnt])
            rights.append(model.predict(pixels[tested]) == labels[tested])
        correlations.append(np.corrcoef(*rights)[0, 1])
        accuracies.append(rights[0].mean())
    return float(np.mean(correlations)), float(np.mean(accuracies))


if __name__ == "__main__":
    main()

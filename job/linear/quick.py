"""Linear heads: the optimum of a convex problem is computed, not approached by steps.

Three things make it quick. The components of a basis are scaled by the curvature that the loss has
along them, so L-BFGS needs some twenty steps instead of hundreds. A head that was solved nearby is
the start. And the two products with all images, which are most of the work, are in float32.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from job.linear.basis import find_basis
from job.linear.probe import PENALTIES, Probe
from job.linear.sample import Sample, divide_columns

FloatArray = NDArray[np.float32]

MOST_STEPS = 200
# L-BFGS stops where a step lowers the loss by less than this share. With 3,500 images of ten
# classes the loss is then within 0.2 % of the optimum. A tenth of it would be ten times closer, and
# take twice the time.
LEAST_GAIN = 1e-6
# Between penalties on the way to a weak one.
STEP = 10
# How many numbers in float64 an evaluation holds at once: images times classes.
MOST_NUMBERS = 4_000_000


@dataclass(frozen=True, slots=True)
class Head:
    """A linear classifier on components: kernel float32 [r, classes], bias float32 [classes]."""

    kernel: FloatArray
    bias: FloatArray

    def logits(self, components: FloatArray) -> FloatArray:
        """float32 [n, r] -> float32 [n, classes]."""
        return components @ self.kernel + self.bias


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Images from which heads are solved.

    Attributes:
        components: float32 [n, r] of a basis.
        targets: float32 [n, classes].
        weights: float32 [n].
        variances: float32 [r] of the components, roughly.
        least_gain: L-BFGS stops where a step lowers the loss by less than this share.
    """

    components: FloatArray
    targets: FloatArray
    weights: FloatArray
    variances: FloatArray
    least_gain: float = LEAST_GAIN

    def take(self, rows: NDArray[np.int64]) -> "Problem":
        """Return some of the images, by position."""
        return Problem(
            components=self.components[rows],
            targets=self.targets[rows],
            weights=self.weights[rows],
            variances=self.variances,
            least_gain=self.least_gain,
        )

    def solve(
        self,
        penalty: float,
        factors: NDArray[np.float64] | None = None,
        start: Head | None = None,
    ) -> Head:
        """Solve the head at a penalty.

        Args:
            penalty: as in `PENALTIES`. The loss is a mean, so it is divided by the images.
            factors: float [r], by which the components are multiplied. None is 1 for all.
            start: a head that was solved nearby. None comes from stronger penalties: from nothing,
                a weak one would end as soon as the images are known by heart, far from the optimum.
        """
        if start is None and STEP * penalty <= PENALTIES[0]:
            start = self.solve(STEP * penalty, factors)
        columns, classes = self.components.shape[1], self.targets.shape[1]
        if factors is None:
            factors = np.ones(columns)
        kept = np.flatnonzero(factors)
        components = self.components
        if len(kept) < columns:
            components = components[:, kept]
        ridge = penalty / len(self.targets)
        # The curvature of the loss where all classes are equally likely.
        curvature = (1 - 1 / classes) / classes
        stiffness = curvature * self.variances[kept] * factors[kept] ** 2 + ridge
        # What a unit of the unknowns is worth on the components.
        units = (factors[kept] / np.sqrt(stiffness))[:, None]
        # One more row than components: the bias.
        unknowns = np.zeros((len(kept) + 1, classes))
        if start is not None:
            unknowns[:-1] = start.kernel[kept] / units
            unknowns[-1] = start.bias
        weights = self.weights.astype(np.float64)
        evaluate = _Loss(
            components=components,
            targets=self.targets,
            share=(weights / weights.sum())[:, None],
            units=units,
            decay=(ridge / stiffness)[:, None],
        )
        found = minimize(
            evaluate,
            unknowns.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MOST_STEPS, "ftol": self.least_gain, "gtol": 1e-6},
        )
        solution = found.x.reshape(unknowns.shape)
        kernel = np.zeros((columns, classes), np.float32)
        kernel[kept] = solution[:-1] * units
        return Head(kernel=kernel, bias=solution[-1].astype(np.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loss:
    """The penalised cross-entropy and its gradient.

    Attributes:
        components: float32 [n, r].
        targets: float32 [n, classes].
        share: of each image in the loss, float64 [n, 1].
        units: what a unit of the unknowns is worth, float64 [r, 1].
        decay: the penalty of each row of the unknowns, float64 [r, 1].
    """

    components: FloatArray
    targets: FloatArray
    share: NDArray[np.float64]
    units: NDArray[np.float64]
    decay: NDArray[np.float64]

    def __call__(self, flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        images, classes = self.targets.shape
        unknowns = flat.reshape(-1, classes)
        kernel = (self.units * unknowns[:-1]).astype(np.float32)
        loss = 0.0
        gradient = np.zeros_like(unknowns)
        at_once = max(MOST_NUMBERS // classes, 1)
        for first in range(0, images, at_once):
            some = slice(first, first + at_once)
            components = self.components[some]
            # Between the products in float64: of a likely class float32 would lose the loss.
            logits = (components @ kernel).astype(np.float64)
            logits += unknowns[-1]
            part, error = _compare(logits, self.targets[some], self.share[some])
            loss += part
            # In this order the product reads the components row by row.
            gradient[:-1] += (error.T.astype(np.float32) @ components).T
            gradient[-1] += error.sum(axis=0)
        # The bias is not penalised: classes of unequal size would be pulled together.
        pull = self.decay * unknowns[:-1]
        gradient[:-1] *= self.units
        gradient[:-1] += pull
        loss += 0.5 * float(np.vdot(pull, unknowns[:-1]))
        return loss, gradient.ravel()


def _compare(
    logits: NDArray[np.float64], targets: FloatArray, share: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Return the cross-entropy of images and its derivative by their logits, [n, classes].

    The derivative takes the place of the logits.
    """
    logits -= logits.max(axis=1, keepdims=True)
    # Rows of targets sum to 1.
    losses = -np.einsum("ij,ij->i", targets, logits)[:, None]
    likelihoods = np.exp(logits, out=logits)
    sums = likelihoods.sum(axis=1, keepdims=True)
    losses += np.log(sums)
    likelihoods /= sums
    likelihoods -= targets
    likelihoods *= share
    return float(np.vdot(share, losses)), likelihoods


def solve(sample: Sample, penalty: float, factors: NDArray[np.float64] | None = None) -> Probe:
    """Solve the head at one penalty, as `solve_path` does for all of `PENALTIES`.

    Args:
        sample: the images to learn from.
        penalty: one of `PENALTIES`, or any other.
        factors: float [d], as in `solve_path`.
    """
    path = solve_path(sample.features, sample.targets, sample.weights, factors, [penalty])
    return next(path)


def solve_path(
    features: FloatArray,
    targets: FloatArray,
    weights: FloatArray,
    factors: NDArray[np.float64] | None = None,
    penalties: Sequence[float] = PENALTIES,
) -> Iterator[Probe]:
    """Multinomial logistic regression with an L2 penalty, along a path of penalties.

    Features are standardised, and the standardisation is folded into the result.

    Args:
        features: float32 [n, d].
        targets: float32 [n, classes], rows that sum to 1 (soft targets are fine).
        weights: float32 [n].
        factors: float [d], by which the standardised features are multiplied. A factor f divides
            the penalty of its feature by f squared. A feature of factor 0 is left out: its row of
            the kernel is 0. None is 1 for all.
        penalties: from strong to weak. Each solution is the start of the next.
    """
    # A rotation mixes columns, so only neighbours of one factor share one.
    divided = divide_columns(features.shape[1], factors)
    kept = [(group, value) for group, value in zip(*divided, strict=True) if value]
    basis = find_basis(features, [group for group, _ in kept])
    values = np.array([value for _, value in kept])[basis.group_of]
    problem = Problem(
        components=basis.project(features),
        targets=targets,
        weights=weights,
        variances=basis.variances,
    )
    head: Head | None = None
    for penalty in penalties:
        head = problem.solve(penalty, values, head)
        yield basis.unfold(head.kernel, head.bias, penalty)

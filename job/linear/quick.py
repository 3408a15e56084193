"""The optimum of `solve_path` at one penalty in a few passes over the images, in float32.

Two things make it quick. The components of a basis are scaled by the curvature that the loss has
along them, so L-BFGS needs some twenty steps instead of hundreds. And a head that was solved nearby
is the start.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from job.linear.basis import find_basis
from job.linear.probe import Probe
from job.linear.sample import Sample, divide_columns

FloatArray = NDArray[np.float32]

MOST_STEPS = 200
# L-BFGS stops where a step lowers the loss by less than this share. float32 resolves little less.
LEAST_GAIN = 1e-6


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
            start: a head that was solved nearby.
        """
        components, classes = self.components.shape[1], self.targets.shape[1]
        if factors is None:
            factors = np.ones(components)
        kept = np.flatnonzero(factors)
        ridge = penalty / len(self.targets)
        # The curvature of the loss where all classes are equally likely.
        curvature = (1 - 1 / classes) / classes
        stiffness = curvature * self.variances[kept] * factors[kept] ** 2 + ridge
        # What a unit of the unknowns is worth on the components.
        units = (factors[kept] / np.sqrt(stiffness)).astype(np.float32)
        scaled = self.components[:, kept] * units
        # One more row than components: the bias.
        unknowns = np.zeros((len(kept) + 1, classes), np.float32)
        if start is not None:
            unknowns[:-1] = start.kernel[kept] / units[:, None]
            unknowns[-1] = start.bias
        decay = (ridge / stiffness).astype(np.float32)[:, None]
        evaluate = _Loss(
            scaled=scaled,
            targets=self.targets,
            share=(self.weights / self.weights.sum())[:, None],
            decay=decay,
        )
        found = minimize(
            evaluate,
            unknowns.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MOST_STEPS, "ftol": self.least_gain, "gtol": 1e-6},
        )
        solution = found.x.astype(np.float32).reshape(unknowns.shape)
        kernel = np.zeros((components, classes), np.float32)
        kernel[kept] = solution[:-1] * units[:, None]
        return Head(kernel=kernel, bias=solution[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loss:
    """The penalised cross-entropy and its gradient, of scaled components float32 [n, r]."""

    scaled: FloatArray
    targets: FloatArray
    share: FloatArray
    decay: FloatArray

    def __call__(self, flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        unknowns = flat.astype(np.float32).reshape(-1, self.targets.shape[1])
        kernel, bias = unknowns[:-1], unknowns[-1]
        logits = self.scaled @ kernel
        logits += bias
        logits -= logits.max(axis=1, keepdims=True)
        likelihoods = np.exp(logits)
        sums = likelihoods.sum(axis=1, keepdims=True)
        # Rows of targets sum to 1.
        losses = np.log(sums) - (self.targets * logits).sum(axis=1, keepdims=True)
        likelihoods /= sums
        error = (likelihoods - self.targets) * self.share
        pull = self.decay * kernel
        gradient = np.empty_like(unknowns)
        gradient[:-1] = self.scaled.T @ error + pull
        gradient[-1] = error.sum(axis=0)
        # Summed in float64: the line search compares losses that differ by little.
        loss = np.vdot(self.share.astype(np.float64), losses)
        loss += 0.5 * np.vdot(pull.astype(np.float64), kernel)
        return float(loss), gradient.ravel().astype(np.float64)


def solve(sample: Sample, penalty: float, factors: NDArray[np.float64] | None = None) -> Probe:
    """Solve the head at one penalty: quickly what `solve_path` yields at that penalty.

    Args:
        sample: the images to learn from.
        penalty: one of `PENALTIES`, or any other.
        factors: float [d], as in `solve_path`.
    """
    # A rotation mixes columns, so only neighbours of one factor share one.
    groups, values = divide_columns(sample.features.shape[1], factors)
    basis = find_basis(sample.features, groups)
    problem = Problem(
        components=basis.project(sample.features),
        targets=sample.targets,
        weights=sample.weights,
        variances=basis.variances,
    )
    head = problem.solve(penalty, np.array(values)[basis.group_of])
    return basis.unfold(head.kernel, head.bias, penalty)

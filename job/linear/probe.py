"""The linear probe: the optimum of a convex problem is computed, not approached by steps."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

# From strong to weak regularisation. Each solution is the start of the next.
PENALTIES = tuple(10.0**power for power in (1, 0.5, 0, -0.5, -1, -1.5, -2, -2.5, -3, -3.5, -4))
MOST_ITERATIONS = 500
# A feature that varies by a smaller share of its own size is constant: float32 resolves no less.
# An absolute threshold would be wrong: a network with random weights may have features of 1e-12
# that tell the classes apart.
LEAST_VARIATION = 1e-6


@dataclass(frozen=True, slots=True)
class Probe:
    """A linear classifier: logits = features @ kernel + bias.

    Attributes:
        kernel: float32 [d, classes].
        bias: float32 [classes].
        penalty: the one that it was solved with.
    """

    kernel: np.ndarray
    bias: np.ndarray
    penalty: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """float32 [n, d] -> float32 [n, classes]."""
        return features @ self.kernel + self.bias


def solve_path(
    features: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    factors: np.ndarray | None = None,
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
    """
    columns = features.shape[1]
    kept = np.arange(columns)
    if factors is not None:
        kept = np.flatnonzero(factors)
        features = features[:, kept]
    mean, scale = measure_columns(features)
    if factors is not None:
        scale = scale / factors[kept]
    standardised = (features - mean) / scale
    targets = targets.astype(np.float64)
    # A mean, so that a penalty means the same for few images as for many.
    share = weights.astype(np.float64) / weights.sum()
    images, dimensions = features.shape
    # One more row than features: the bias.
    shape = (dimensions + 1, targets.shape[1])

    def evaluate(flat: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
        """The penalised cross-entropy and its gradient."""
        kernel, bias = np.split(flat.reshape(shape), [-1])
        logits = standardised @ kernel + bias
        probabilities = softmax(logits, axis=1)
        error = share[:, None] * (probabilities - targets)
        losses = logsumexp(logits, axis=1) - (targets * logits).sum(axis=1)
        loss = share @ losses
        # The bias is not penalised: classes of unequal size would be pulled together.
        kernel_gradient = standardised.T @ error + penalty * kernel
        bias_gradient = error.sum(axis=0)
        gradient = np.vstack([kernel_gradient, bias_gradient])
        penalised = loss + penalty / 2 * (kernel**2).sum()
        return penalised, gradient.ravel()

    solution = np.zeros(shape)
    for penalty in PENALTIES:
        found = minimize(
            evaluate,
            solution.ravel(),
            # The loss is a mean over the images, so the penalty is divided by them as well.
            args=(penalty / images,),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MOST_ITERATIONS},
        )
        solution = found.x.reshape(shape)
        kernel = solution[:-1] / scale[:, None]
        bias = solution[-1] - mean @ kernel
        whole = np.zeros((columns, shape[1]), np.float32)
        whole[kept] = kernel
        yield Probe(
            kernel=whole,
            bias=bias.astype(np.float32),
            penalty=penalty,
        )


def measure_columns(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of each feature, float64 [d]; the deviation of a constant is 1."""
    mean = features.mean(axis=0, dtype=np.float64)
    scale = features.std(axis=0, dtype=np.float64)
    largest = np.abs(features).max(axis=0)
    # A constant feature is not divided: its deviation is only rounding.
    scale[scale <= LEAST_VARIATION * largest] = 1.0
    return mean, scale

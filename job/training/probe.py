"""The linear probe, solved: the optimum of a convex problem is computed, not approached by steps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

# From strong to weak regularisation; each solution is the start of the next.
PENALTIES = tuple(10.0**power for power in (1, 0.5, 0, -0.5, -1, -1.5, -2, -2.5, -3, -3.5, -4))


@dataclass(frozen=True, slots=True)
class Probe:
    """A linear classifier: logits = features @ kernel + bias. kernel float32 [d, classes], bias float32 [classes]."""

    kernel: np.ndarray
    bias: np.ndarray
    penalty: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """float32 [n, d] -> float32 [n, classes]."""
        return features @ self.kernel + self.bias


def path(features: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> Iterator[Probe]:
    """Multinomial logistic regression with an L2 penalty, along a path of penalties.

    Features are standardised, and the standardisation is folded into the result.

    Args:
        features: float32 [n, d].
        targets: float32 [n, classes], rows that sum to 1 (soft targets are fine).
        weights: float32 [n].
    """
    mean, scale = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    # A feature that varies by less than float32 resolves says nothing; leave it at zero. Measured
    # against its own size: a network with random weights may have features of 1e-12 that tell the
    # classes apart.
    scale[scale <= 1e-6 * np.abs(features).max(axis=0)] = 1.0
    standardised = (features - mean) / scale
    share = weights.astype(np.float64) / weights.sum()
    shape = (features.shape[1] + 1, targets.shape[1])
    solution = np.zeros(shape)
    for penalty in PENALTIES:
        objective = _objective(
            standardised, targets.astype(np.float64), share, penalty / len(features)
        )
        found = minimize(
            objective, solution.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 500}
        )
        solution = found.x.reshape(shape)
        kernel = solution[:-1] / scale[:, None]
        yield Probe(
            kernel.astype(np.float32), (solution[-1] - mean @ kernel).astype(np.float32), penalty
        )


def _objective(
    features: np.ndarray, targets: np.ndarray, share: np.ndarray, penalty: float
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """The penalised cross-entropy and its gradient; the bias is free."""

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        kernel, bias = np.split(flat.reshape(-1, targets.shape[1]), [-1])
        logits = features @ kernel + bias
        error = share[:, None] * (softmax(logits, axis=1) - targets)
        loss = share @ (logsumexp(logits, axis=1) - (targets * logits).sum(axis=1))
        gradient = np.vstack([features.T @ error + penalty * kernel, error.sum(axis=0)])
        return loss + penalty / 2 * (kernel**2).sum(), gradient.ravel()

    return objective

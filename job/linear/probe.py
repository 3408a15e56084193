"""The linear probe, and the penalties that it is solved at."""

from dataclasses import dataclass

import numpy as np

# From strong to weak regularisation. Each solution is the start of the next.
PENALTIES = tuple(10.0**power for power in (1, 0.5, 0, -0.5, -1, -1.5, -2, -2.5, -3, -3.5, -4))
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


def measure_columns(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of each feature, float64 [d]; the deviation of a constant is 1."""
    mean = features.mean(axis=0, dtype=np.float64)
    scale = features.std(axis=0, dtype=np.float64)
    largest = np.abs(features).max(axis=0)
    # A constant feature is not divided: its deviation is only rounding.
    scale[scale <= LEAST_VARIATION * largest] = 1.0
    return mean, scale

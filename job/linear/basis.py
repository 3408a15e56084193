"""Features in fewer dimensions: the principal components of each group.

A rotation leaves the L2 penalty as it is, so a head solved on all components is the head solved on
the features. Heads on many subsets of the images, groups and penalties share one rotation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from job.linear.probe import Probe, measure_columns
from job.linear.sample import FeatureGroup

FloatArray = NDArray[np.float32]

# A component with a smaller share of the largest variance is rounding of float32.
LEAST_VARIANCE = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """Standardised features, rotated within each group.

    Attributes:
        groups: which columns belong together.
        mean, scale: float64 [d].
        rotations: float32 [columns of the group, components] for each group.
        variances: float32 [components of all groups].
        group_of: int [components of all groups], the number of the group.
    """

    groups: tuple[FeatureGroup, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    rotations: tuple[FloatArray, ...]
    variances: FloatArray
    group_of: NDArray[np.int64]

    def project(self, features: FloatArray) -> FloatArray:
        """float32 [n, d] -> float32 [n, components]."""
        projected = np.empty((len(features), len(self.variances)), np.float32)
        stop = 0
        for group, rotation in zip(self.groups, self.rotations, strict=True):
            start, stop = stop, stop + rotation.shape[1]
            standardised = _standardise(features, group, self.mean, self.scale)
            np.matmul(standardised, rotation, out=projected[:, start:stop])
        return projected

    def unfold(self, kernel: FloatArray, bias: FloatArray, penalty: float) -> Probe:
        """Return the head on raw features that a head on the components is.

        Args:
            kernel: float32 [components, classes].
            bias: float32 [classes].
            penalty: noted in the head.
        """
        whole = np.zeros((len(self.mean), kernel.shape[1]))
        for number, (group, rotation) in enumerate(zip(self.groups, self.rotations, strict=True)):
            rows = kernel[self.group_of == number]
            scale = self.scale[group.start : group.stop, None]
            whole[group.start : group.stop] = (rotation @ rows) / scale
        folded = bias - self.mean @ whole
        return Probe(
            kernel=whole.astype(np.float32),
            bias=folded.astype(np.float32),
            penalty=penalty,
        )


def find_basis(features: FloatArray, groups: Sequence[FeatureGroup]) -> Basis:
    """Find the principal components of each group.

    Args:
        features: float32 [n, d].
        groups: which columns belong together.
    """
    mean, scale = measure_columns(features)
    rotations = []
    variances = []
    for group in groups:
        standardised = _standardise(features, group, mean, scale)
        rotation, variance = _find_components(standardised)
        rotations.append(rotation)
        variances.append(variance)
    sizes = [len(variance) for variance in variances]
    return Basis(
        groups=tuple(groups),
        mean=mean,
        scale=scale,
        rotations=tuple(rotations),
        variances=np.concatenate(variances),
        group_of=np.repeat(np.arange(len(groups)), sizes),
    )


def _standardise(
    features: FloatArray, group: FeatureGroup, mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> FloatArray:
    """Return the columns of a group, float32 [n, columns]."""
    columns = slice(group.start, group.stop)
    # The mean is taken off in two parts: float32 alone would round features that vary little.
    coarse = mean[columns].astype(np.float32)
    rest = (mean[columns] - coarse).astype(np.float32)
    standardised = features[:, columns] - coarse
    standardised -= rest
    standardised /= scale[columns].astype(np.float32)
    return standardised


def _find_components(standardised: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return rotation float32 [d, components] and variances float32 [components], falling."""
    images, dimensions = standardised.shape
    is_wide = images < dimensions
    # The smaller of the two Gram matrices: both have the same eigenvalues.
    gram = standardised @ standardised.T if is_wide else standardised.T @ standardised
    # By divide and conquer, which takes little more than half of the time.
    values, vectors = eigh(gram, overwrite_a=True, driver="evd")
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = values > LEAST_VARIANCE * max(values[0], np.finfo(np.float32).tiny)
    values, vectors = values[kept], vectors[:, kept]
    if is_wide:
        vectors = standardised.T @ (vectors / np.sqrt(values))
    return np.ascontiguousarray(vectors), values / np.float32(images)

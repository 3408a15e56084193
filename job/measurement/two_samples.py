"""Whether new images differ from known ones: a two-sample test on their features.

The statistic is the squared maximum mean discrepancy with a Gaussian kernel (Gretton et al., A
Kernel Two-Sample Test, 2012, https://jmlr.org/papers/v13/gretton12a.html). To test features of a
pre-trained network for a shift is from Rabanser et al., Failing Loudly, 2019,
https://arxiv.org/abs/1810.11953.

Both samples have labels, so images are compared within their classes: a night that brings cats
alone is no difference. Under the hypothesis that new and known images of one class come from one
source, each exchange of images within a class is as likely as what was seen. So the p-value is
exact: the rate of false alarms is at most the level that it is held against.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

FloatArray = NDArray[np.float64]

# The p-value is at least 1 / (PERMUTATIONS + 1).
PERMUTATIONS = 1_999
# The statistic is between 0 and 2. What rounding takes from it must not make a permutation smaller.
ROUNDING = 1e-12
# Permutations at once: with 1,000 images they take 2 MB.
CHUNK = 256


@dataclass(frozen=True, slots=True)
class TwoSampleTest:
    """What a test has found.

    Attributes:
        p_value: how often chance alone separates the samples so far. 1 if nothing can be compared.
        new, known: how many images of classes that are in both samples were compared.
    """

    p_value: float
    new: int
    known: int


def compare_samples(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    is_new: NDArray[np.bool_],
    seed: int,
) -> TwoSampleTest:
    """Test whether new images differ from known ones of the same classes.

    Args:
        features: of the images of both samples, float32 [n, d].
        labels: their classes, int [n].
        is_new: which of them are new, bool [n].
        seed: of the permutations.
    """
    comparable = np.intersect1d(labels[is_new], labels[~is_new])
    taken = np.isin(labels, comparable)
    features, labels, is_new = features[taken], labels[taken], is_new[taken]
    new, known = int(is_new.sum()), int((~is_new).sum())
    if not len(comparable):
        return TwoSampleTest(1.0, 0, 0)
    kernel = _compute_kernel(_centre_classes(features, labels))
    weights = _weigh_samples(labels, is_new)
    seen = float(weights @ kernel @ weights)
    threshold = seen - ROUNDING
    as_large = 1
    generator = np.random.default_rng(seed)
    rows = [np.flatnonzero(labels == label) for label in comparable]
    for start in range(0, PERMUTATIONS, CHUNK):
        permuted = np.empty((min(CHUNK, PERMUTATIONS - start), len(labels)))
        for places in rows:
            own = np.broadcast_to(weights[places], (len(permuted), len(places)))
            permuted[:, places] = generator.permuted(own, axis=1)
        discrepancies = np.einsum("pi,pi->p", permuted @ kernel, permuted)
        as_large += int((discrepancies >= threshold).sum())
    return TwoSampleTest(as_large / (PERMUTATIONS + 1), new, known)


def _centre_classes(features: NDArray[np.float32], labels: NDArray[np.int64]) -> FloatArray:
    """Standardised features without the mean of their class: float64 [n, d].

    So a difference that all classes share, as that of another camera, adds up.
    """
    centred = features.astype(np.float64)
    for label in np.unique(labels):
        own = labels == label
        centred[own] -= centred[own].mean(axis=0)
    spread = centred.std(axis=0)
    # A column that never changes tells nothing.
    return np.asarray(centred[:, spread > 0] / spread[spread > 0])


def _compute_kernel(points: FloatArray) -> FloatArray:
    """The Gaussian kernel [n, n], whose width is the median distance."""
    squares = pdist(points, "sqeuclidean")
    width = np.median(squares[squares > 0]) if (squares > 0).any() else 1.0
    return np.asarray(np.exp(squareform(squares) / -width))


def _weigh_samples(labels: NDArray[np.int64], is_new: NDArray[np.bool_]) -> FloatArray:
    """The weight of each image in the difference of the two means, float64 [n].

    Known images are weighted so that their classes are as frequent as those of the new ones.
    """
    weights = np.empty(len(labels))
    total = is_new.sum()
    for label in np.unique(labels):
        own = labels == label
        new = own & is_new
        share = new.sum() / total
        weights[new] = 1 / total
        weights[own & ~is_new] = -share / (own & ~is_new).sum()
    return weights

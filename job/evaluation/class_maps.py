"""Find where in an image something speaks for the wrong class."""

import numpy as np
from numpy.typing import NDArray

from job.scores import Labels


def compute_class_maps(
    feature_maps: NDArray[np.float32],
    kernel: NDArray[np.float32],
    predicted: Labels,
    true: Labels,
) -> NDArray[np.float32]:
    """Compute class activation maps of mistakes (Zhou et al. 2016, arXiv 1512.04150).

    A linear head on average pooling is a mean of what each place says, so the map is exact: its
    mean, plus the difference of the biases, is the logit of the predicted class minus that of the
    true one. The paper takes the column of one class. Adding one vector to the columns of all
    classes changes no probability, but it does change such a map. It does not change the difference
    of two columns, which also asks the better question: why this class and not the true one?

    Args:
        feature_maps: [n, h, w, c], what enters the pooling.
        kernel: float32 [c, classes] of the head.
        predicted, true: int [n], columns of the kernel.

    Returns:
        float32 [n, h, w], above 0 where a place speaks for the predicted class.
    """
    difference = kernel[:, predicted] - kernel[:, true]
    return np.einsum("nhwc,cn->nhw", feature_maps.astype(np.float32), difference)

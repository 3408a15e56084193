"""Pre-trained weights as verified files: Keras's own, a mirror's, a given file, or a release.

    found = weights.locate(settings.backbone, BACKBONES[name], settings.cache.dir, keras_home)

Nothing here reads a tensor: `model` does, after `locate` has proved that the file is the one that
was meant. What cannot be found or proved is a `WeightsError`. Random weights come only from the
setting `none`.
"""

from job.weights.locating import (
    NO_WEIGHTS,
    Weights,
    locate,
    locate_candidates,
    order_classes,
    require_same,
)

__all__ = [
    "NO_WEIGHTS",
    "Weights",
    "locate",
    "locate_candidates",
    "order_classes",
    "require_same",
]

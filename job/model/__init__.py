"""Backbones with their preprocessing inside the graph, the places to cut them, and the head on top.

A foreign model is data: the architecture comes from code, and only tensors of the right shapes are
read into it.
"""

import keras

from job.model.classifier import (
    Classifier,
    ClassifierSpec,
    build,
    fold_temperature,
    pool_stages,
    replace_pooling,
    summarize,
)
from job.model.cuts import Cut, find_stage_ends

__all__ = [
    "Classifier",
    "ClassifierSpec",
    "Cut",
    "build",
    "find_stage_ends",
    "fold_temperature",
    "pool_stages",
    "replace_pooling",
    "summarize",
]

# Somebody's keras.json may say something else, and layers take it from here when they are built.
keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)

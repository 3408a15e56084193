"""Backbones with their preprocessing inside the graph, the places where they can be cut, and the head on top.

A foreign model is data: the architecture comes from code, and only tensors of the right shapes are
read into it.
"""

from job.model.classifier import Classifier, build, fold_temperature, summary
from job.model.cuts import Cut

__all__ = ["Classifier", "Cut", "build", "fold_temperature", "summary"]

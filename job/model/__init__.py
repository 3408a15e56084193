"""Backbones with their preprocessing inside the graph, the places to cut them, and the head on top.

A foreign model is data: the architecture comes from code, and only tensors of the right shapes are
read into it.
"""

from job.model.classifier import Classifier, ClassifierSpec, build, fold_temperature, summarize
from job.model.cuts import Cut

__all__ = ["Classifier", "ClassifierSpec", "Cut", "build", "fold_temperature", "summarize"]

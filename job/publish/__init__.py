"""Releases: written with the manifest last, verified, promoted by one conditional write, used by their URI.

Everywhere in this room `model` is the store rooted at `<output uri>/<name>`.
"""

from job.publish.comparison import Challenger, Comparison, compare
from job.publish.history import History, history
from job.publish.inventory import inventory
from job.publish.manifest import Manifest
from job.publish.prediction import Prediction, predict
from job.publish.promotion import (
    Champion,
    Decision,
    Standing,
    champion,
    decide,
    finish_promotion,
    promote,
    promote_manually,
)
from job.publish.releasing import Release, find, folder_of, release
from job.publish.verification import Verified, verify

__all__ = [
    "Challenger",
    "Champion",
    "Comparison",
    "Decision",
    "History",
    "Manifest",
    "Prediction",
    "Release",
    "Standing",
    "Verified",
    "champion",
    "compare",
    "decide",
    "find",
    "finish_promotion",
    "folder_of",
    "history",
    "inventory",
    "predict",
    "promote",
    "promote_manually",
    "release",
    "verify",
]

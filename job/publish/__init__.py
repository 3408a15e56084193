"""Releases: written with the manifest last, verified, promoted by one conditional write, and used.

Everywhere in this room `registry` is the store rooted at `<output uri>/<name>`.
"""

from job.publish.champion import Champion, read_champion
from job.publish.champion_predictions import FrozenFeatures
from job.publish.comparison import Challenger, Comparison, compare
from job.publish.decision import Decision, decide, explain_missed_gate
from job.publish.history import History, read_history
from job.publish.image_sources import ImageSource, find_images
from job.publish.inventory import (
    INVENTORY,
    SEEN_OBJECTS,
    compose_inventory,
    list_known_images,
    list_used_images,
    read_seen_objects,
)
from job.publish.judging import Evaluation, evaluate
from job.publish.listing import ReleaseRow, find_release, list_releases
from job.publish.prediction import Prediction, Predictor, predict
from job.publish.promotion import finish_promotion, promote, promote_manually
from job.publish.ranking import RankedImage, rank
from job.publish.releasing import Release, complete, find, release
from job.publish.retention import Retention, plan_retention, prune
from job.publish.rollback import roll_back
from job.publish.verification import verify
from job.publish.versions import follow_champion

__all__ = [
    "INVENTORY",
    "SEEN_OBJECTS",
    "Challenger",
    "Champion",
    "Comparison",
    "Decision",
    "Evaluation",
    "FrozenFeatures",
    "History",
    "ImageSource",
    "Prediction",
    "Predictor",
    "RankedImage",
    "Release",
    "ReleaseRow",
    "Retention",
    "compare",
    "complete",
    "compose_inventory",
    "decide",
    "evaluate",
    "explain_missed_gate",
    "find",
    "find_images",
    "find_release",
    "finish_promotion",
    "follow_champion",
    "list_known_images",
    "list_releases",
    "list_used_images",
    "plan_retention",
    "predict",
    "promote",
    "promote_manually",
    "prune",
    "rank",
    "read_champion",
    "read_history",
    "read_seen_objects",
    "release",
    "roll_back",
    "verify",
]

"""Choose by measurement how much of the backbone is retrained, and, if asked, which backbone.

`measuring` finds out the kind and the amount of the data. `candidates` lists what could be done,
with the work of each. `schedule` plans a race of them by successive halving (arXiv 1502.07943)
inside a budget. `race` runs it with their `trainers`. `rule` ends it early and picks the winner.
Before all that, `backbones` compares backbones by solved heads. Its candidates are `entrants`, and
`rounds` says who goes on.
"""

from job.selection.backbones import BackboneChoice, BackboneRow, choose_backbone
from job.selection.candidates import (
    Candidate,
    choose_boundaries,
    is_worth_a_race,
    list_candidates,
)
from job.selection.entrants import FrozenBackbone, freeze_backbone
from job.selection.measuring import MeasuredData, measure_data, measure_features
from job.selection.race import race_candidates
from job.selection.results import NO_BUDGET, NO_EVIDENCE, NO_REACH
from job.selection.rule import (
    Judged,
    choose_metric,
    choose_winner,
    compute_paired_error,
    is_out_of_reach,
)
from job.selection.schedule import Rung, list_rung, order_by_steps, plan_race, plan_rungs

__all__ = [
    "NO_BUDGET",
    "NO_EVIDENCE",
    "NO_REACH",
    "BackboneChoice",
    "BackboneRow",
    "Candidate",
    "FrozenBackbone",
    "Judged",
    "MeasuredData",
    "Rung",
    "choose_backbone",
    "choose_boundaries",
    "choose_metric",
    "choose_winner",
    "compute_paired_error",
    "freeze_backbone",
    "is_out_of_reach",
    "is_worth_a_race",
    "list_candidates",
    "list_rung",
    "measure_data",
    "measure_features",
    "order_by_steps",
    "plan_race",
    "plan_rungs",
    "race_candidates",
]

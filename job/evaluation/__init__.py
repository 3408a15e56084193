"""What the model is worth: measured on held-out images, told as JSON, as one page and as a model card."""

from job.evaluation.calibration import calibrate
from job.evaluation.report import Mistake, Report, ReportContext, judge, write
from job.evaluation.scores import Paired, paired, scores

__all__ = [
    "Mistake",
    "Paired",
    "Report",
    "ReportContext",
    "calibrate",
    "judge",
    "paired",
    "scores",
    "write",
]

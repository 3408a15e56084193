"""What the model is worth: measured on held-out images, told as JSON, as one page and as a model card."""

from job.evaluation.calibration import calibrate
from job.evaluation.report import Context, Mistake, Report, judge, write
from job.evaluation.scores import Paired, paired, scores

__all__ = ["Context", "Mistake", "Paired", "Report", "calibrate", "judge", "paired", "scores", "write"]

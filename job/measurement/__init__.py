"""What features say of the data: its kind, its amount, its wrong labels, and what is new in it."""

from job.measurement.curve import CurvePoint, measure_curve, predict_gain
from job.measurement.measuring import Kind, Measurement, choose_better, measure
from job.measurement.profile import ALL_STAGES, StageScore, measure_profile
from job.measurement.suspects import Suspect, Suspects, TestAnswers, find_suspects
from job.measurement.two_samples import TwoSampleTest, compare_samples

__all__ = [
    "ALL_STAGES",
    "CurvePoint",
    "Kind",
    "Measurement",
    "StageScore",
    "Suspect",
    "Suspects",
    "TestAnswers",
    "TwoSampleTest",
    "choose_better",
    "compare_samples",
    "find_suspects",
    "measure",
    "measure_curve",
    "measure_profile",
    "predict_gain",
]

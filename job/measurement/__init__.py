"""What solved heads say of the data: its kind, its amount and its wrong labels."""

from job.measurement.curve import CurvePoint, measure_curve, predict_gain
from job.measurement.measuring import Kind, Measurement, measure
from job.measurement.profile import ALL_STAGES, StageScore, measure_profile
from job.measurement.suspects import Suspect, Suspects, TestAnswers, find_suspects

__all__ = [
    "ALL_STAGES",
    "CurvePoint",
    "Kind",
    "Measurement",
    "StageScore",
    "Suspect",
    "Suspects",
    "TestAnswers",
    "find_suspects",
    "measure",
    "measure_curve",
    "measure_profile",
    "predict_gain",
]

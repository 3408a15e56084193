"""Export the trained model as SavedModel, .keras, ONNX and LiteRT, each checked against it."""

from job.export.packing import Exporter
from job.export.request import Bundle, ExportRequest, Parity

__all__ = ["Bundle", "ExportRequest", "Exporter", "Parity"]

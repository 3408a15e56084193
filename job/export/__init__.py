"""The files that others load: SavedModel, .keras, ONNX and LiteRT, each proved against the trained model."""

from job.export.packing import pack
from job.export.request import Bundle, ExportRequest, Parity

__all__ = ["Bundle", "ExportRequest", "Parity", "pack"]

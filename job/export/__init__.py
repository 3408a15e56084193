"""The files that others load: SavedModel, .keras, ONNX and LiteRT, each proved against the trained model."""

from job.export.packing import pack
from job.export.recipe import Bundle, Drift, Recipe

__all__ = ["Bundle", "Drift", "Recipe", "pack"]

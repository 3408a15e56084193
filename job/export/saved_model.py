"""Write a SavedModel that takes encoded images.

Decoding is in its graph, so it computes exactly what was trained.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from job.export.export_input import ExportInput
from job.images import batch


def write(export_input: ExportInput, path: Path) -> None:
    """Write the signature `serving_default`, from `images` string [batch].

    It gives `probabilities` float32 [batch, classes] and `labels` string [batch], the name of the
    best class.
    """

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")], autograph=False)
    def serve(images: Any) -> dict[str, Any]:
        pixels = batch(images, export_input.size, export_input.fit)
        probabilities = export_input.model(pixels, training=False)
        labels = tf.gather(tf.constant(export_input.classes), tf.argmax(probabilities, axis=1))
        return {"probabilities": probabilities, "labels": labels}

    save(export_input.model, serve, path)


def run(export_input: ExportInput, path: Path) -> npt.NDArray[np.float32]:
    """Load the written model, and return its probabilities for the images, [batch, classes]."""
    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    return signature(images=tf.constant(export_input.encoded))["probabilities"].numpy()


def save(model: Any, function: Any, path: Path) -> None:
    """Write one signature over a Keras model's variables, with equal bytes in every process."""
    module = tf.Module()
    # The variables alone. If the Keras model were tracked, a LiteRT file made from this would have
    # lost its weights, without an error. See docs/decisions/0009.
    module.tensors = [variable.value for variable in model.variables]
    signatures = {"serving_default": function.get_concrete_function()}
    tf.saved_model.save(module, str(path), signatures=signatures)
    # It holds a random UUID.
    (path / "fingerprint.pb").unlink()
    # Always empty, and a bucket has no empty folders.
    (path / "assets").rmdir()

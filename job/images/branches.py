"""Branches of the decoder that few images take, kept out of the graph of the others."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

ENCODED = tf.TensorSpec([], tf.string)


def rare_branch(*signature: tf.TensorSpec) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: the function stays one call in every graph that it is part of.

    TensorFlow merges the branches of `tf.cond` into one graph. For every image it then passes
    through each operation of the branches that are not taken. A call that is not made is one
    operation.

    Without a graph it is an ordinary function. To trace and optimize it would take seconds, for the
    few images that are decoded so.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        in_a_graph = tf.function(
            function,
            input_signature=signature,
            autograph=False,
            experimental_attributes={"_noinline": True},
        )

        @functools.wraps(function)
        def call(*tensors: Any) -> Any:
            if tf.executing_eagerly():
                return function(*tensors)
            return in_a_graph(*tensors)

        return call

    return decorate

"""Branches of the decoder that few images take, kept out of the graph of the others."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

ENCODED = tf.TensorSpec([], tf.string)


def rare_branch(*signature: tf.TensorSpec) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: the function stays one call in every graph that it is part of.

    TensorFlow merges the branches of `tf.cond` into one graph. For every image it then passes
    through each operation of the branches that are not taken. A call that is not made is one
    operation.
    """
    return tf.function(
        input_signature=signature,
        autograph=False,
        experimental_attributes={"_noinline": True},
    )

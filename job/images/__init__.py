"""Encoded bytes to RGB pixels in the graph: the one decoder that training, audit and the exported SavedModel share.

Every function is made of TensorFlow operations only, so it means the same eagerly, in a `tf.data`
pipeline and in a saved `tf.function` that knows neither the images' sizes nor their number.
"""

from job.images.decoding import decode
from job.images.fitting import batch, prepare

__all__ = ["DECODER", "batch", "decode", "prepare"]

DECODER = 1
"""Raised whenever the same bytes may give other pixels than before: what was worked out from pixels is then stale."""

"""Encoded bytes to RGB pixels in the graph: one decoder for training, audit and the SavedModel.

Every function is made of TensorFlow operations only. So it means the same eagerly, in a `tf.data`
pipeline and in a saved `tf.function` that knows neither the images' sizes nor their number.
"""

from job.images.decoding import decode
from job.images.fitting import prepare, prepare_batch, prepare_few
from job.images.formats import FORMATS

__all__ = ["DECODER", "FORMATS", "decode", "prepare", "prepare_batch", "prepare_few"]

# Raised whenever the same bytes may give other pixels than before. What was computed from pixels is
# then stale.
DECODER = 3

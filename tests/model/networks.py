"""Networks as files."""

from pathlib import Path

import h5py
import keras
from keras.src.legacy.saving import legacy_h5_format


def write_network(network: keras.Model, path: Path) -> None:
    """In Keras's three formats: `.weights.h5`, `.keras`, and the `.h5` of its published files."""
    if path.name.endswith(".weights.h5"):
        network.save_weights(path)
    elif path.suffix == ".keras":
        network.save(path)
    else:
        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, network)

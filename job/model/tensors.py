"""Tensors from a file into an architecture built by code: all of them, each in its shape.

Keras's own readers of weights are used; they deserialise no configuration. What they accept
silently is refused here: tensors that the network does not have, and numbers that are not finite.
"""

import lzma
import warnings
import zipfile
from pathlib import Path

import keras
import numpy as np

from job.catalogue import BACKBONES
from job.errors import WeightsError
from job.files import open_scratch
from job.model.weights_file import READ_ERRORS, WeightsFileContents, check_compressed

ARCHIVED_WEIGHTS = "model.weights.h5"
# float32 weights and Adam's two moments, with room for HDF5's own bytes.
MOST_BYTES_PER_PARAMETER = 16
OVERHEAD_BYTES = 64 << 20
# Of Keras's own words for what does not fit.
LONGEST_REASON = 300


def read_into(network: keras.Model, path: Path, name: str) -> None:
    """Fill every weight of `network` from a `.weights.h5`, a legacy `.h5` or a `.keras` file.

    Args:
        network: is filled.
        path: the file.
        name: what the network is, for the error.

    Raises:
        WeightsError: the file is damaged, or its tensors are not exactly those of the network.
    """
    if path.suffix != ".keras":
        _fill_network(network, path, path, name)
        return

    # Only the member that holds tensors is extracted. The archive's configuration is never read: it
    # could name code to run.
    parameters = network.count_params()
    largest = MOST_BYTES_PER_PARAMETER * parameters + OVERHEAD_BYTES
    with open_scratch() as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                # Asked before anything is unpacked: a small archive can hold a member of terabytes.
                if archive.getinfo(ARCHIVED_WEIGHTS).file_size > largest:
                    raise WeightsError(
                        f"The weights in {path.name} are far larger than the network, which has "
                        f"{parameters:,} parameters.",
                        "Give the weights of this very backbone.",
                    )
                file = Path(archive.extract(ARCHIVED_WEIGHTS, folder))
        except (zipfile.BadZipFile, lzma.LZMAError, *READ_ERRORS) as error:
            raise _describe_damage(path, error) from error
        _fill_network(network, file, path, name)


def _fill_network(network: keras.Model, file: Path, path: Path, name: str) -> None:
    """Read the HDF5 file; errors name `path`, the file that the user knows."""
    try:
        contents = WeightsFileContents.read(file)
    except READ_ERRORS as error:
        raise _describe_damage(path, error) from error
    expected = [tuple(variable.shape) for variable in network.weights]
    if difference := contents.find_difference(expected):
        raise _describe_misfit(network, contents, path, name, difference)

    try:
        check_compressed(file, contents)
        with warnings.catch_warnings():
            # Keras only warns that "layers will retain their freshly-initialized weights".
            warnings.simplefilter("error", UserWarning)
            network.load_weights(file)
    except (UserWarning, *READ_ERRORS) as error:
        reason = str(error).partition("\n")[0][:LONGEST_REASON]
        raise _describe_misfit(network, contents, path, name, reason) from error
    for variable in network.weights:
        if not np.isfinite(variable.numpy()).all():
            raise WeightsError(
                f"The weights file {path.name} holds NaN or infinite numbers; "
                "expected finite ones.",
                "Give weights from a run that did not diverge.",
            )


def _describe_misfit(
    network: keras.Model,
    contents: WeightsFileContents,
    path: Path,
    name: str,
    difference: str,
) -> WeightsError:
    """The error for a file of another network, which is named if the catalogue knows it."""
    kind = "another network"
    for backbone in BACKBONES.values():
        same_size = backbone.tensors, backbone.parameters
        if backbone.file == path.name or same_size == (contents.tensors, contents.parameters):
            kind = backbone.name
            break
    finding = f"is {kind}'s, not {name}'s."
    if kind == name:
        # By its name or its size it is. What is wrong is inside.
        finding = f"does not fit {name}, although its name or its size does."
    return WeightsError(
        f"The weights file {path.name} {finding} "
        f"Received {contents.tensors} tensors with {contents.parameters:,} parameters; "
        f"expected {len(network.weights)} with {network.count_params():,}. {difference}",
        "Give the weights of this very backbone without a classifier, or name theirs in "
        "GRAFT_BACKBONE_NAME.",
    )


def _describe_damage(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"The weights file {path.name} cannot be read: {error}. "
        "Expected `.weights.h5`, `.h5` or `.keras`, whole.",
        "Fetch the file again, and check its SHA-256.",
    )

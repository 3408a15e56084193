"""Tensors from a file into an architecture built by code: all of them, each in its shape.

Keras's own readers of weights are used; they deserialise no configuration and follow no link out of
the file. What they accept silently is refused here: tensors that the network does not have, and
numbers that are not finite.
"""

import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from job.catalogue import BACKBONES
from job.errors import WeightsError
from job.files import open_scratch

ARCHIVED_WEIGHTS = "model.weights.h5"
# float32 weights and Adam's two moments, with room for HDF5's own bytes.
MOST_BYTES_PER_PARAMETER = 16
OVERHEAD_BYTES = 64 << 20


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
        except (
            zipfile.BadZipFile,
            KeyError,
            EOFError,
            OSError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise _describe_damage(path, error) from error
        _fill_network(network, file, path, name)


def _fill_network(network: keras.Model, file: Path, path: Path, name: str) -> None:
    """Read the HDF5 file; errors name `path`, the file that the user knows."""
    contents = WeightsFileContents.read(file, path)
    try:
        with warnings.catch_warnings():
            # Keras only warns that "layers will retain their freshly-initialized weights".
            warnings.simplefilter("error", UserWarning)
            network.load_weights(file)
    except (UserWarning, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise _describe_misfit(network, contents, path, name) from error
    # A legacy file is read by order: there Keras has compared the numbers of tensors itself.
    if not contents.legacy and contents.tensors != len(network.weights):
        raise _describe_misfit(network, contents, path, name)
    for variable in network.weights:
        if not np.isfinite(variable.numpy()).all():
            raise WeightsError(
                f"The weights file {path.name} holds NaN or infinite numbers; "
                "expected finite ones.",
                "Give weights from a run that did not diverge.",
            )


@dataclass(frozen=True, slots=True)
class WeightsFileContents:
    """What an HDF5 file of weights holds, without optimizer and random state.

    Attributes:
        tensors: their number.
        parameters: numbers in them.
        legacy: whether it is of Keras's older format.
    """

    tensors: int
    parameters: int
    legacy: bool

    @classmethod
    def read(cls, file: Path, path: Path) -> "WeightsFileContents":
        """Count what a file holds.

        Raises:
            WeightsError: it is not an HDF5 file, or damaged; it is called `path` there.
        """
        sizes: list[int] = []

        def visit_item(name: str, item: Any) -> None:
            is_weight = not name.startswith("optimizer") and "seed_generator" not in name
            if isinstance(item, h5py.Dataset) and is_weight:
                sizes.append(int(np.prod(item.shape)))

        try:
            with h5py.File(file, "r") as opened:
                opened.visititems(visit_item)
                # A legacy file of a whole model keeps its layers below this name, a file of weights
                # at the top.
                roots = [opened]
                if "model_weights" in opened:
                    roots.append(opened["model_weights"])
                legacy = False
                for root in roots:
                    # A list that is too long for one attribute is divided into numbered ones.
                    legacy |= "layer_names" in root.attrs or "layer_names0" in root.attrs
        except (OSError, ValueError, RuntimeError) as error:
            raise _describe_damage(path, error) from error
        return cls(len(sizes), sum(sizes), legacy)


def _describe_misfit(
    network: keras.Model,
    contents: WeightsFileContents,
    path: Path,
    name: str,
) -> WeightsError:
    """The error for a file of another network, which is named if the catalogue knows it."""
    kind = "another network"
    for backbone in BACKBONES.values():
        same_size = backbone.tensors, backbone.parameters
        if backbone.file == path.name or same_size == (contents.tensors, contents.parameters):
            kind = backbone.name
            break
    return WeightsError(
        f"The weights file {path.name} is {kind}'s, not {name}'s. "
        f"Received {contents.tensors} tensors with {contents.parameters:,} parameters; "
        f"expected {len(network.weights)} with {network.count_params():,}.",
        "Give the weights of this very backbone without a classifier, or name theirs in "
        "GRAFT_BACKBONE_NAME.",
    )


def _describe_damage(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"The weights file {path.name} cannot be read: {error}. "
        "Expected `.weights.h5`, `.h5` or `.keras`, whole.",
        "Fetch the file again, and check its SHA-256.",
    )

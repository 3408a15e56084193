"""Tensors from a file into an architecture that our code has built: all of them, each in its shape, and nothing else.

Keras's own readers of weights are used; they deserialise no configuration and follow no link out of
the file. What they let pass is caught here: tensors that nobody asked for, and numbers that are
none.
"""

import tempfile
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

ARCHIVED_WEIGHTS = "model.weights.h5"
# float32 weights and Adam's two moments, with room for HDF5's own bytes.
MOST_BYTES_A_PARAMETER = 16
OVERHEAD_BYTES = 64 << 20


def read_into(network: keras.Model, path: Path, name: str) -> None:
    """Fill every weight of `network` from a `.weights.h5`, a legacy `.h5` or a `.keras` file.

    Args:
        name: what the network is, for the error.

    Raises:
        WeightsError: the file is damaged, or its tensors are not exactly those of the network.
    """
    if path.suffix == ".keras":
        with tempfile.TemporaryDirectory() as folder:
            _read(network, _extract(path, Path(folder), network.count_params()), path, name)
    else:
        _read(network, path, path, name)


def _read(network: keras.Model, file: Path, path: Path, name: str) -> None:
    """Read the HDF5 file; errors name `path`, the file that the user knows."""
    contents = _Contents.of(file, path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error", UserWarning
            )  # "layers will retain their freshly-initialized weights"
            network.load_weights(file)
    except (UserWarning, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise _misfit(network, contents, path, name) from error
    if not contents.legacy and contents.tensors != len(network.weights):
        raise _misfit(network, contents, path, name)
    if not all(np.isfinite(variable.numpy()).all() for variable in network.weights):
        raise WeightsError(
            f"The weights file {path.name} holds NaN or infinite numbers.",
            "Give weights from a run that did not diverge.",
        )


def _extract(path: Path, folder: Path, parameters: int) -> Path:
    """The one member of a `.keras` archive that holds tensors; its configuration is never looked at."""
    try:
        with zipfile.ZipFile(path) as archive:
            if (
                archive.getinfo(ARCHIVED_WEIGHTS).file_size
                > MOST_BYTES_A_PARAMETER * parameters + OVERHEAD_BYTES
            ):
                raise WeightsError(
                    f"The weights in {path.name} are far larger than the network, which has {parameters:,} parameters.",
                    "Give the weights of this very backbone.",
                )
            return Path(archive.extract(ARCHIVED_WEIGHTS, folder))
    except (
        zipfile.BadZipFile,
        KeyError,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise _damaged(path, error) from error


@dataclass(frozen=True, slots=True)
class _Contents:
    """What an HDF5 file of weights holds, without optimizer and random state."""

    tensors: int
    parameters: int
    legacy: bool

    @classmethod
    def of(cls, file: Path, path: Path) -> "_Contents":
        sizes: list[int] = []

        def visit(name: str, item: Any) -> None:
            if (
                isinstance(item, h5py.Dataset)
                and not name.startswith("optimizer")
                and "seed_generator" not in name
            ):
                sizes.append(int(np.prod(item.shape)))

        try:
            with h5py.File(file, "r") as opened:
                opened.visititems(visit)
                legacy = any(
                    "layer_names" in part.attrs or "layer_names0" in part.attrs
                    for part in _roots(opened)
                )
        except (OSError, ValueError, RuntimeError) as error:
            raise _damaged(path, error) from error
        return cls(len(sizes), sum(sizes), legacy)


def _roots(file: h5py.File) -> list[Any]:
    """Where a legacy file keeps its layers: at the top, or below one name if the whole model was saved."""
    return [file, file["model_weights"]] if "model_weights" in file else [file]


def _misfit(network: keras.Model, contents: _Contents, path: Path, name: str) -> WeightsError:
    alike = (
        backbone.name
        for backbone in BACKBONES.values()
        if backbone.file == path.name
        or (backbone.tensors, backbone.parameters) == (contents.tensors, contents.parameters)
    )
    kind = next(alike, "another network")
    return WeightsError(
        f"The weights file {path.name} is {kind}'s, not {name}'s. Received {contents.tensors} tensors with "
        f"{contents.parameters:,} parameters; expected {len(network.weights)} with {network.count_params():,}.",
        "Give the weights of this very backbone without a classifier, or name theirs in GRAFT_BACKBONE_NAME.",
    )


def _damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"The weights file {path.name} cannot be read: {error}. Expected `.weights.h5`, `.h5` or `.keras`, whole.",
        "Fetch the file again, and check its SHA-256.",
    )

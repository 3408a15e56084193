"""What hostile inputs are made from: honest files of each kind, and traps made on purpose."""

import functools
import io
import json
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import keras
import numpy as np
import tensorflow as tf
from keras.src.legacy.saving import legacy_h5_format
from PIL import Image

from tools.torture import cves

OUTSIDE = "../../../escaped.jpg"
# A picture of so many pixels on a side would have four gigabytes.
BOMB_SIDE = 36_000
# What an honest table names, beside it.
NEIGHBOURS = ("1.jpg", "2.jpg")
DEEP = b'{"a":' * 2_000 + b"1" + b"}" * 2_000


@dataclass(frozen=True)
class Source:
    """A file to mutate. The suffix says who reads it."""

    name: str
    suffix: str
    content: bytes


def make_sources(folder: Path) -> dict[str, list[Source]]:
    """Files of each kind but images, made below `folder`."""
    folder.mkdir()
    return {
        "archive": list(_make_archives()),
        "table": list(_make_tables()),
        "weights": list(_make_weights(folder)),
        "json": list(_make_json()),
        "graph": [Source("graph", ".pb", _make_graph(folder))],
    }


def encode_image(generator: random.Random) -> bytes:
    """A smooth picture in one of the formats that are read."""
    colours = np.random.default_rng(generator.randrange(1 << 32)).integers(0, 256, (4, 5, 3))
    image = Image.fromarray(colours.astype(np.uint8)).resize((48, 40))
    mode, form, options = generator.choice(
        (
            ("RGB", "JPEG", {}),
            ("RGB", "JPEG", {"progressive": True}),
            ("L", "JPEG", {}),
            ("CMYK", "JPEG", {}),
            ("RGB", "PNG", {}),
            ("RGBA", "PNG", {}),
            ("P", "PNG", {}),
            ("RGB", "BMP", {}),
            ("P", "GIF", {}),
            ("RGB", "WEBP", {"lossless": True}),
            ("RGB", "WEBP", {}),
        )
    )
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def make_image_bombs() -> dict[str, bytes]:
    """Small files that claim to be pictures of gigabytes."""
    header = struct.pack(">IIBBBBB", BOMB_SIDE, BOMB_SIDE, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 24), 9)
    png = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")):
        png += struct.pack(">I", len(body)) + name + body
        png += struct.pack(">I", zlib.crc32(name + body))
    gif = b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0x80, 0, 0) + bytes(6) + b"\x2c"
    gif += struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\x02\x4c\x01\x00\x3b"
    bmp = b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 60_000, 60_000, 1, 24, *[0] * 6)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    jpeg = buffer.getvalue().replace(struct.pack(">HH", 8, 8), b"\xff\xff\xff\xff", 1)
    return {"png": png, "gif": gif, "bmp": bmp, "jpeg": jpeg}


def make_network() -> keras.Model:
    """A small network. Weights of it are what weights files hold."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="first")(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(2, 3, name="second")(x))


@functools.cache
def _make_image() -> bytes:
    return encode_image(random.Random(1))


def _make_archives() -> list[Source]:
    image = _make_image()
    names = ("a/1.jpg", "b/2.jpg", "a/3.jpg", "b/4.jpg")
    traps: dict[str, tuple[str, ...]] = {
        "honest": (),
        "traversal": (OUTSIDE, f"a/{OUTSIDE}"),
        "absolute": ("/tmp/escaped.jpg", "C:\\escaped.jpg", "\\\\host\\escaped.jpg"),
        "backslashes": (OUTSIDE.replace("/", "\\"),),
    }
    sources = []
    for trap, extra in traps.items():
        content = dict.fromkeys((*names, *extra), image)
        for suffix, mode in ((".tar", "w"), (".tar.gz", "w:gz")):
            sources.append(Source(trap, suffix, _make_tar(content, mode)))
        sources.append(Source(trap, ".zip", _make_zip(content)))
    bomb = dict.fromkeys(names, image) | {"a/bomb.jpg": bytes(256 << 20)}
    sources.append(Source("bomb", ".zip", _make_zip(bomb)))
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        for target in ("/etc/passwd", OUTSIDE, "a/1.jpg", "a"):
            member = tarfile.TarInfo("b/link.jpg")
            member.type, member.linkname = kind, target
            linked = _make_tar(dict.fromkeys(names, image), "w", member)
            sources.append(Source(f"link {kind!r} to {target}", ".tar", linked))
    return sources


def _make_tar(content: dict[str, bytes], mode: str, *members: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]  # text
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for member in members:
            archive.addfile(member)
    return buffer.getvalue()


def _make_zip(content: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _make_tables() -> Iterator[Source]:
    honest = list(zip(NEIGHBOURS, "ab", strict=True))
    traps = [("1.jpg", "a"), (OUTSIDE, "b"), ("/etc/passwd", "a"), ("file:///etc/passwd", "b")]
    traps += [("s3://x/y.jpg", "a"), ("input.csv", "\x1b[2J"), ("=1+1", '"'), ("a\0b", "c")]
    for name, rows in (("honest", honest), ("traps", traps)):
        table = "image,label\n" + "".join(f"{image},{label}\n" for image, label in rows)
        yield Source(name, ".csv", table.encode())
        lines = [json.dumps({"image": image, "label": label}) for image, label in rows]
        yield Source(name, ".jsonl", "\n".join(lines).encode())
    yield from (
        Source("deep", ".jsonl", DEEP),
        Source("long", ".csv", b"image,label\n" + b"x" * 1_000_000 + b",a\n"),
        Source("numbers", ".jsonl", b'{"image": 1e999, "label": NaN}\n{"image": [], "label": {}}'),
    )


def _make_weights(folder: Path) -> list[Source]:
    network = make_network()
    sources = [Source(*trap) for trap in cves.make_traps(network, folder)]
    for suffix in (".weights.h5", ".keras", ".h5"):
        path = folder / f"weights{suffix}"
        if suffix == ".h5":
            with h5py.File(path, "w") as file:
                legacy_h5_format.save_weights_to_hdf5_group(file, network)
        elif suffix == ".keras":
            network.save(path)
        else:
            network.save_weights(path)
        sources.append(Source("weights", suffix, path.read_bytes()))
    return sources


def _make_json() -> list[Source]:
    manifest = {
        "schema": 1,
        "name": "n",
        "run_id": "0123456789abcdef",
        "files": {"labels.json": {"bytes": 1, "sha256": "0" * 64}},
        "data": {"classes": ["a", "b"], "images": {"train": 2}},
        "scores": {"accuracy": 0.5},
        "exact": True,
        "previous": None,
    }
    manifest |= {name: {} for name in ("settings", "versions", "plan", "promotion")}
    run_id = manifest["run_id"]
    pointer = {"schema": 1, "run_id": run_id, "release": f"releases/{run_id}"}
    pointer["manifest_sha256"] = "0" * 64
    inventory = {"schema": 1, "images": [{"sha256": "0", "label": "a", "split": "train"}]}
    sources = [Source("deep", ".json", DEEP)]
    for name, value in (("manifest", manifest), ("pointer", pointer), ("inventory", inventory)):
        sources.append(Source(name, ".json", json.dumps(value).encode()))
    return sources


def _make_graph(folder: Path) -> bytes:
    module = tf.Module()
    module.tensors = [tf.Variable(tf.ones(2))]

    @tf.function(input_signature=[tf.TensorSpec([2])], autograph=False)
    def serve(numbers: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": numbers * module.tensors[0]}

    tf.saved_model.save(module, str(folder / "graph"), signatures={"serving_default": serve})
    return (folder / "graph" / "saved_model.pb").read_bytes()

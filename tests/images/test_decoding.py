"""The one decoder: eagerly, in a tf.data pipeline and in a saved function, the same pixels."""

import functools
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from job import images
from job.audit.formats import DECODABLE
from job.settings import ImageFit

TAG = 0x0112


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    """A picture such as JPEG and resizing are made for."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / 17 + phase) * np.cos(columns / 23 - phase) for phase in (0, 1, 2)]
    return (127.5 + 127.5 * np.stack(waves, axis=-1)).astype(np.uint8)


def encode(image: Image.Image | np.ndarray, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        buffer, form, **options
    )
    return buffer.getvalue()


def on_white(data: bytes) -> np.ndarray:
    picture = Image.open(io.BytesIO(data)).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    return np.asarray(white.convert("RGB"))


def decode_eagerly(data: bytes) -> np.ndarray:
    return images.decode(tf.constant(data)).numpy()


@functools.cache
def pipeline() -> tuple[list[bytes], tf.data.Dataset]:
    """A pipeline traced once, and the list that it reads in each epoch."""
    source: list[bytes] = []
    dataset = tf.data.Dataset.from_generator(
        lambda: iter(source), output_signature=tf.TensorSpec([], tf.string)
    )
    return source, dataset.map(images.decode)


def decode_in_a_pipeline(data: bytes) -> np.ndarray:
    source, dataset = pipeline()
    source[:] = [data]
    return next(iter(dataset)).numpy()


DECODERS = [decode_eagerly, decode_in_a_pipeline]


@pytest.fixture(scope="module")
def graph() -> Callable[[bytes], Any]:
    """One traced function for many images: no shape is known to it."""
    return tf.function(images.decode, input_signature=[tf.TensorSpec([], tf.string)])


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("form", ["PNG", "BMP", "WEBP"])
def test_lossless_colour_comes_back_exactly(
    form: str, decode: Callable[[bytes], np.ndarray]
) -> None:
    picture = noise(30, 40, 3)
    data = encode(picture, form, **({"lossless": True} if form == "WEBP" else {}))
    np.testing.assert_array_equal(decode(data), picture)


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30}])
def test_a_jpeg_is_what_pillow_makes_of_it(
    options: dict[str, Any], decode: Callable[[bytes], np.ndarray]
) -> None:
    data = encode(smooth(90, 120), "JPEG", **options)
    difference = decode(data).astype(int) - np.asarray(Image.open(io.BytesIO(data)))
    assert np.abs(difference).mean() < 1.5  # TensorFlow takes libjpeg's faster, coarser transform


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    ("mode", "form"),
    [
        ("L", "PNG"),
        ("1", "PNG"),
        ("L", "BMP"),
        ("L", "GIF"),
        ("P", "PNG"),
        ("P", "GIF"),
        ("P", "BMP"),
    ],
)
def test_grey_and_palettes_are_widened(
    mode: str, form: str, decode: Callable[[bytes], np.ndarray]
) -> None:
    data = encode(Image.fromarray(noise(30, 40, 3)).convert(mode), form)
    np.testing.assert_array_equal(
        decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    )


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    ("channels", "form", "options"),
    [(4, "PNG", {}), (2, "PNG", {}), (4, "WEBP", {"lossless": True, "exact": True})],
)
def test_alpha_is_composited_on_white(
    channels: int, form: str, options: dict[str, Any], decode: Callable[[bytes], np.ndarray]
) -> None:
    data = encode(noise(30, 40, channels), form, **options)
    np.testing.assert_allclose(decode(data).astype(int), on_white(data), atol=1)


def test_a_palette_with_transparent_entries_is_composited_on_white() -> None:
    data = encode(
        Image.fromarray(noise(30, 40, 3)).convert("P"), "PNG", transparency=bytes(range(256))
    )
    np.testing.assert_allclose(decode_eagerly(data).astype(int), on_white(data), atol=1)


def test_what_is_fully_transparent_is_white_and_what_is_opaque_is_itself() -> None:
    picture = noise(8, 8, 4)
    picture[:4, :, 3], picture[4:, :, 3] = 0, 255
    decoded = decode_eagerly(encode(picture, "PNG"))
    assert (decoded[:4] == 255).all()
    np.testing.assert_array_equal(decoded[4:], picture[4:, :, :3])


def test_the_padding_of_a_32_bit_bmp_is_not_alpha() -> None:
    picture = noise(8, 8, 4)
    np.testing.assert_array_equal(decode_eagerly(encode(picture, "BMP")), picture[..., :3])


@pytest.mark.parametrize("claimed", [0, 40, 2**31 - 1, 2**32 - 1])
def test_a_false_palette_header_breaks_nothing(claimed: int) -> None:
    data = encode(Image.fromarray(noise(9, 9)), "BMP")
    false_header = data[:14] + struct.pack("<I", claimed) + data[18:]
    assert decode_eagerly(false_header).shape == (9, 9, 3)


@pytest.mark.parametrize("decode", DECODERS)
def test_16_bit_samples_are_scaled(decode: Callable[[bytes], np.ndarray]) -> None:
    deep = np.linspace(0, 65535, 12 * 10).reshape(12, 10).astype(np.uint16)
    decoded = decode(encode(Image.fromarray(deep), "PNG"))
    np.testing.assert_allclose(decoded, np.repeat((deep / 257)[..., None], 3, axis=-1), atol=1)


@pytest.mark.parametrize("decode", DECODERS)
def test_cmyk_becomes_rgb(decode: Callable[[bytes], np.ndarray]) -> None:
    data = encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")
    np.testing.assert_allclose(decode(data).astype(int), np.full((16, 16, 3), (255, 0, 0)), atol=8)


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    ("form", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})]
)
def test_an_animation_gives_its_first_frame(
    form: str, options: dict[str, Any], decode: Callable[[bytes], np.ndarray]
) -> None:
    red, blue = (Image.new("RGB", (20, 10), colour) for colour in ("red", "blue"))
    data = encode(red, form, save_all=True, append_images=[blue], **options)
    np.testing.assert_array_equal(decode(data), np.asarray(red))


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("endian", ["<", ">"])
def test_exif_orientation_in_a_jpeg_is_applied(
    endian: str, orientation: int, decode: Callable[[bytes], np.ndarray]
) -> None:
    plain = encode(noise(30, 40, 3), "JPEG")
    stored = Image.fromarray(decode_eagerly(plain))
    stored.getexif()[TAG] = orientation
    tagged = plain[:2] + app1(tiff(endian, orientation)) + plain[2:]
    np.testing.assert_array_equal(decode(tagged), np.asarray(ImageOps.exif_transpose(stored)))


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_exif_orientation_in_png_and_webp_is_applied(
    form: str, options: dict[str, Any], orientation: int, decode: Callable[[bytes], np.ndarray]
) -> None:
    exif = Image.Exif()
    exif[TAG] = orientation
    data = encode(noise(31, 41, 3), form, exif=exif.tobytes(), **options)
    want = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    np.testing.assert_array_equal(decode(data), np.asarray(want))


def tiff(endian: str, orientation: int, kind: int = 3) -> bytes:
    """The EXIF block of a camera: another entry before, an offset that leaves a gap."""
    before = struct.pack(endian + "HHII", 0x010F, 2, 4, 0)
    entry = struct.pack(endian + "HHIHH", TAG, kind, 1, orientation, 0)
    mark = b"II*\0" if endian == "<" else b"MM\0*"
    return (
        mark
        + struct.pack(endian + "I", 12)
        + b"\0\0\0\0"
        + struct.pack(endian + "H", 2)
        + before
        + entry
        + bytes(4)
    )


def app1(payload: bytes, name: bytes = b"Exif\0\0") -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(payload) + len(name) + 2) + name + payload


JPEG = encode(noise(30, 40, 3), "JPEG")


def test_other_segments_before_the_exif_are_passed_over() -> None:
    xmp = app1(b"<x:xmpmeta/>" * 100, b"http://ns.adobe.com/xap/1.0/\0")
    padding = b"\xff"
    data = JPEG[:20] + xmp + padding + app1(tiff(">", 6)) + JPEG[20:]
    assert decode_eagerly(data).shape == (40, 30, 3)


def test_exif_behind_the_pixels_is_not_read() -> None:
    behind = JPEG + app1(tiff(">", 6))
    np.testing.assert_array_equal(decode_eagerly(behind), decode_eagerly(JPEG))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"II",
        b"II*\0",
        b"XX*\0" + tiff("<", 6)[4:],
        b"II*\0\xff\xff\xff\xff" + bytes(40),
        b"II*\0\x08\0\0\0\xff\xff" + bytes(5),
        tiff("<", 6)[:20],
        tiff("<", 0),
        tiff("<", 9),
        tiff("<", 6, kind=2),
    ],
)
def test_malformed_exif_means_upright(payload: bytes) -> None:
    np.testing.assert_array_equal(
        decode_eagerly(JPEG[:2] + app1(payload) + JPEG[2:]), decode_eagerly(JPEG)
    )


@given(st.binary(max_size=60), st.sampled_from([b"", b"II*\0", b"MM\0*\0\0\0\x08"]))
@settings(max_examples=60, deadline=None)
def test_no_exif_fails_an_image(
    graph: Callable[[bytes], Any], payload: bytes, start: bytes
) -> None:
    shape = graph(JPEG[:2] + app1(start + payload) + JPEG[2:]).shape
    assert sorted(shape) == [3, 30, 40]


def test_a_segment_that_claims_more_than_there_is_fails_no_image(
    graph: Callable[[bytes], Any],
) -> None:
    webp = encode(noise(9, 7, 3), "WEBP", lossless=True) + b"EXIF\xff\xff\xff\xff" + bytes(4)
    assert graph(webp).shape == (9, 7, 3)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        noise(500).tobytes(),
        JPEG[:-300],
        encode(noise(9, 9, 3), "PNG")[:-30],
        b"\xff\x0a" + bytes(80),
    ],
)
def test_what_is_not_an_image_is_an_invalid_argument(
    data: bytes, graph: Callable[[bytes], Any]
) -> None:
    for decode in (*DECODERS, graph):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode(data)


FITS: list[ImageFit] = ["letterbox", "crop", "squash"]


def fit_with_pillow(picture: Image.Image, size: int, fit: ImageFit) -> np.ndarray:
    width, height = picture.size
    if fit == "letterbox":
        scaled = [max(1, int(side * size / max(width, height) + 0.5)) for side in (width, height)]
        square = Image.new("RGB", (size, size), "white")
        square.paste(
            picture.resize(scaled, Image.Resampling.BILINEAR),
            ((size - scaled[0]) // 2, (size - scaled[1]) // 2),
        )
        return np.asarray(square)
    if fit == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        picture = picture.crop((left, top, left + side, top + side))
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(
    ("height", "width"), [(300, 400), (400, 301), (20, 30), (64, 64), (31, 90)]
)
def test_resizing_agrees_with_pillow(height: int, width: int, fit: ImageFit) -> None:
    picture = smooth(height, width)
    prepared = images.prepare(tf.constant(encode(picture, "PNG")), 64, fit).numpy()
    difference = np.abs(prepared - fit_with_pillow(Image.fromarray(picture), 64, fit))
    assert difference.max() <= 1.1  # Pillow rounds twice, to whole levels
    assert difference.mean() < 0.5


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("height", "width"), [(1, 5000), (5000, 1), (1, 1), (2, 3)])
def test_no_side_is_ever_empty(height: int, width: int, fit: ImageFit) -> None:
    prepared = images.prepare(
        tf.constant(encode(np.zeros((height, width, 3), np.uint8), "PNG")), 32, fit
    ).numpy()
    assert prepared.shape == (32, 32, 3)
    assert prepared.min() == 0


@pytest.mark.parametrize("fit", FITS)
def test_a_square_of_the_right_size_is_left_alone_and_float(fit: ImageFit) -> None:
    picture = noise(32, 32, 3)
    prepared = images.prepare(tf.constant(encode(picture, "PNG")), 32, fit).numpy()
    assert prepared.dtype == np.float32
    np.testing.assert_allclose(prepared, picture, atol=1e-4)


def test_levels_are_not_rounded_and_stay_between_0_and_255() -> None:
    prepared = images.prepare(tf.constant(encode(noise(50, 50, 3), "PNG")), 33, "squash").numpy()
    assert (prepared != np.round(prepared)).any()
    assert prepared.min() >= 0
    assert prepared.max() <= 255


def test_an_unknown_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected: 'letterbox'"):
        images.prepare(tf.constant(JPEG), 32, "stretch")  # type: ignore[arg-type]


def several() -> list[bytes]:
    alpha = encode(noise(20, 10, 4), "PNG")
    return [JPEG, alpha, encode(noise(9, 31), "BMP"), JPEG[:2] + app1(tiff("<", 6)) + JPEG[2:]]


@pytest.mark.parametrize("fit", FITS)
def test_a_saved_function_a_pipeline_and_eager_calls_give_the_same_batch(
    fit: ImageFit, tmp_path: Path
) -> None:
    encoded = several()
    one_by_one = np.stack([images.prepare(tf.constant(data), 24, fit) for data in encoded])
    pipeline = (
        tf.data.Dataset.from_tensor_slices(encoded)
        .map(lambda data: images.prepare(data, 24, fit))
        .batch(4)
    )
    module = tf.Module()
    module.call = tf.function(
        lambda encoded: images.prepare_batch(encoded, 24, fit),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    tf.saved_model.save(module, tmp_path)
    loaded = tf.saved_model.load(tmp_path)
    for batch in (
        next(iter(pipeline)),
        loaded.call(encoded),
        images.prepare_batch(tf.constant(encoded), 24, fit),
    ):
        np.testing.assert_array_equal(batch, one_by_one)


def list_files(form: str) -> list[bytes]:
    """Files of a format: in colour, with a palette or grey, and turned where it has EXIF."""
    exif = Image.Exif()
    exif[TAG] = 6
    turned = {"exif": exif} if form in ("JPEG", "PNG", "WebP") else {}
    files = [
        encode(noise(9, 31, 3), form),
        encode(noise(12, 7, 3), form, **turned),
        encode(Image.fromarray(noise(8, 13)), form),
    ]
    if form in ("PNG", "WebP", "GIF"):
        files.append(encode(noise(10, 6, 4), form))
    return files


@pytest.mark.parametrize(
    "formats",
    [
        *[(form,) for form in images.FORMATS],
        ("JPEG", "PNG"),
        ("JPEG", "GIF", "BMP"),
        ("PNG", "WebP"),
    ],
    ids="-".join,
)
def test_a_graph_of_some_formats_decodes_them_as_the_graph_of_all_does(
    formats: tuple[str, ...], graph: Callable[[bytes], Any]
) -> None:
    of_some = tf.function(lambda encoded: images.decode(encoded, formats), autograph=False)
    traced = of_some.get_concrete_function(tf.TensorSpec([], tf.string))
    for form in formats:
        for data in list_files(form):
            expected = graph(data).numpy()
            np.testing.assert_array_equal(traced(tf.constant(data)), expected)
            eager = images.decode(tf.constant(data), formats)
            np.testing.assert_array_equal(eager, expected)


def test_the_audit_knows_the_formats_of_the_decoder() -> None:
    assert tuple(known.name for known in DECODABLE) == images.FORMATS


def test_an_empty_batch_is_a_batch() -> None:
    assert images.prepare_batch(tf.constant([], tf.string), 24, "letterbox").shape == (0, 24, 24, 3)

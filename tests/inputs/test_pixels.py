"""Every kind of image that decodes, against Pillow: no kind comes out wrong in silence."""

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from job import images

RANDOM = np.random.default_rng(0)
SIDE = 8
PIXELS = RANDOM.integers(0, 256, (SIDE, SIDE, 4), dtype=np.uint8)
PALETTE = RANDOM.integers(0, 256, 1024, dtype=np.uint8).tobytes()
# Of red, green, blue and alpha, as Windows stores them.
MASKS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def make_photograph() -> Image.Image:
    """A picture such as JPEG is made for."""
    rows, columns = np.mgrid[0:48, 0:64]
    waves = [np.sin(rows / 17 + phase) * np.cos(columns / 23 - phase) for phase in (0, 1, 2)]
    return Image.fromarray((127.5 + 127.5 * np.stack(waves, axis=-1)).astype(np.uint8))


def encode(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def drop_segment(jpeg: bytes, marker: int) -> bytes:
    """The JPEG without its segments of one kind."""
    kept, at = jpeg[:2], 2
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        kept += jpeg[at:end] if jpeg[at + 1] != marker else b""
        at = end
    return kept + jpeg[at:]


def make_chunk(name: bytes, payload: bytes) -> bytes:
    checksum = zlib.crc32(name + payload)
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", checksum)


def set_number(data: bytes, at: int, number: int) -> bytes:
    return data[:at] + struct.pack("<I", number) + data[at + 4 :]


def make_png(
    bits: int, colour: int, rows: list[bytes], extra: bytes = b"", behind: bytes = b""
) -> bytes:
    header = struct.pack(">IIBBBBB", SIDE, SIDE, bits, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n"
        + make_chunk(b"IHDR", header)
        + extra
        + make_chunk(b"IDAT", pixels)
        + behind
        + make_chunk(b"IEND", b"")
    )


def make_deep_png(colour: int, channels: int) -> bytes:
    samples = RANDOM.integers(0, 65536, (SIDE, SIDE, channels)).astype(">u2")
    return make_png(16, colour, [row.tobytes() for row in samples])


def make_palette_png(bits: int) -> bytes:
    rows = RANDOM.integers(0, 256, (SIDE, bits), dtype=np.uint8)
    extra = make_chunk(b"PLTE", PALETTE[: 3 * 2**bits]) + make_chunk(b"tRNS", b"\0\x80")
    return make_png(bits, 3, [row.tobytes() for row in rows], extra)


def make_bmp(
    bits: int,
    body: bytes,
    *,
    compression: int = 0,
    header_size: int = 40,
    masks: tuple[int, ...] = (),
    palette: bytes = b"",
    height: int = SIDE,
) -> bytes:
    fields = (header_size, SIDE, height, 1, bits, compression, len(body), 2835, 2835)
    header = struct.pack("<IiiHHIIii", *fields) + struct.pack("<II", len(palette) // 4, 0)
    header = (header + struct.pack(f"<{len(masks)}I", *masks)).ljust(header_size, b"\0")
    offset = 14 + len(header) + len(palette)
    start = b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset)
    return start + header + palette + body


def make_old_bmp(bits: int, palette: bytes, body: bytes) -> bytes:
    header = struct.pack("<IHHHH", 12, SIDE, SIDE, 1, bits) + palette
    start = b"BM" + struct.pack("<IHHI", 14 + len(header) + len(body), 0, 0, 14 + len(header))
    return start + header + body


def make_gif(
    *,
    canvas: tuple[int, int] = (SIDE, SIDE),
    corner: tuple[int, int] = (0, 0),
    shared: int = 16,
    own: int = 0,
    transparent: int | None = None,
    before: bytes = b"",
    flags: int = 0,
) -> bytes:
    """A GIF with one frame of SIDE by SIDE pixels and palettes of 16 colours, or of none."""
    start = b"GIF89a" + struct.pack("<HH", *canvas) + bytes([0x83 if shared else 0, 0, 0])
    control = b"" if transparent is None else b"\x21\xf9\x04\x01\0\0" + bytes([transparent, 0])
    frame = b"," + struct.pack("<HHHH", *corner, SIDE, SIDE) + bytes([(0x83 if own else 0) | flags])
    # Codes of 5 bits that are never more than their table: it is cleared after each 14 pixels.
    codes = []
    for at, pixel in enumerate((PIXELS[..., 0] % 16).reshape(-1)):
        codes += [16, int(pixel)] if at % 14 == 0 else [int(pixel)]
    bits = sum(code << (5 * at) for at, code in enumerate([*codes, 17]))
    packed = bits.to_bytes((5 * len(codes) + 5 + 7) // 8, "little")
    pixels = b"\x04" + bytes([len(packed)]) + packed + b"\0"
    return (
        start
        + PALETTE[: 3 * shared]
        + before
        + control
        + frame
        + PALETTE[-3 * own :] * bool(own)
        + pixels
        + b";"
    )


def make_tiff(orientation: int) -> bytes:
    """EXIF with an orientation alone."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)


def decode_with_pillow(data: bytes) -> np.ndarray:
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    return np.asarray(white.convert("RGB")).astype(int)


def decode(data: bytes) -> np.ndarray:
    return np.asarray(images.decode(tf.constant(data))).astype(int)


PHOTOGRAPH = make_photograph()
RGBA = Image.fromarray(PIXELS)
CMYK = encode(PHOTOGRAPH.convert("CMYK"), "JPEG", quality=95)
ADOBE = CMYK.index(b"Adobe")
YCCK = CMYK[: ADOBE + 11] + b"\x02" + CMYK[ADOBE + 12 :]
GREY_ROWS = [row.tobytes() for row in PIXELS[..., 0]]
RGB_ROWS = [row.tobytes() for row in PIXELS[..., :3]]
FIRST_GREY = make_chunk(b"tRNS", struct.pack(">H", int(PIXELS[0, 0, 0])))
FIRST_RGB = make_chunk(b"tRNS", struct.pack(">HHH", *map(int, PIXELS[0, 0, :3])))
EXIF = Image.Exif()
EXIF[0x0112] = 1
STORED = PIXELS.tobytes()
GREY_PNG = encode(RGBA.convert("L"), "PNG")
# 16 by 16 pixels by libjpeg with `arith_code`. Pillow reads this kind and cannot write it.
ARITHMETIC = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsK"
    "CwsNDhIQDQ4RDgsLEBYQERMUFRUVDA8XGBYUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQU"
    "FBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBT/yQARCAAQABADASIA"
    "AhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/AN4Gp7rfXMXHJ443imuyLjWF1IjZrQUl"
    "LC/wT4q/INZBWinf4/ioRsYlyv/Z"
)

JPEGS = {
    "jpeg-grey": encode(PHOTOGRAPH.convert("L"), "JPEG"),
    "jpeg-full-colour": encode(PHOTOGRAPH, "JPEG", subsampling=0),
    "jpeg-half-colour": encode(PHOTOGRAPH, "JPEG", subsampling=1),
    "jpeg-quarter-colour": encode(PHOTOGRAPH, "JPEG", subsampling=2),
    "jpeg-progressive": encode(PHOTOGRAPH, "JPEG", progressive=True),
    "jpeg-restart-markers": encode(PHOTOGRAPH, "JPEG", restart_marker_rows=1),
    "jpeg-stored-as-rgb": encode(PHOTOGRAPH, "JPEG", keep_rgb=True, quality=95),
    "jpeg-exif-upright": encode(PHOTOGRAPH, "JPEG", exif=EXIF),
    "jpeg-cmyk-with-adobe-marker": CMYK,
    "jpeg-cmyk-without-adobe-marker": drop_segment(CMYK, 0xEE),
    "jpeg-cmyk-progressive": encode(PHOTOGRAPH.convert("CMYK"), "JPEG", progressive=True),
    "jpeg-ycck": YCCK,
    "jpeg-arithmetic": ARITHMETIC,
}


@pytest.mark.parametrize("case", JPEGS)
def test_a_jpeg_of_each_kind_is_what_pillow_makes_of_it(case: str) -> None:
    difference = np.abs(decode(JPEGS[case]) - decode_with_pillow(JPEGS[case]))
    # TensorFlow takes a faster and coarser transform.
    assert difference.mean() < 1.5
    assert difference.max() <= 8


LOSSLESS = {
    "png-rgb": encode(PHOTOGRAPH, "PNG"),
    "png-rgb-alpha": encode(RGBA, "PNG"),
    "png-grey-alpha": encode(RGBA.convert("LA"), "PNG"),
    "png-1-bit-grey": make_png(1, 0, [b"\xa5"] * SIDE),
    "png-2-bit-grey": make_png(2, 0, [b"\x1b\xe4"] * SIDE),
    "png-4-bit-grey": make_png(4, 0, [b"\x01\x23\x45\x67"] * SIDE),
    "png-1-bit-palette-with-alpha": make_palette_png(1),
    "png-2-bit-palette-with-alpha": make_palette_png(2),
    "png-4-bit-palette-with-alpha": make_palette_png(4),
    "png-8-bit-palette-with-alpha": encode(
        PHOTOGRAPH.convert("P"), "PNG", transparency=bytes(range(256))
    ),
    "png-grey-with-a-transparent-level": make_png(8, 0, GREY_ROWS, FIRST_GREY),
    "png-1-bit-with-a-transparent-level": make_png(
        1, 0, [b"\xa5"] * SIDE, make_chunk(b"tRNS", b"\0\x01")
    ),
    "png-rgb-with-a-transparent-colour": make_png(8, 2, RGB_ROWS, FIRST_RGB),
    "png-16-bit-rgb": make_deep_png(2, 3),
    "png-16-bit-grey-alpha": make_deep_png(4, 2),
    "png-16-bit-rgb-alpha": make_deep_png(6, 4),
    "png-animated": encode(PHOTOGRAPH, "PNG", save_all=True, append_images=[PHOTOGRAPH.rotate(9)]),
    "gif": encode(PHOTOGRAPH.convert("P"), "GIF"),
    "gif-grey": encode(PHOTOGRAPH.convert("L"), "GIF"),
    "gif-interlaced": encode(PHOTOGRAPH.convert("P"), "GIF", interlace=1),
    "gif-animated": encode(
        PHOTOGRAPH.convert("P"), "GIF", save_all=True, append_images=[RGBA.convert("P")]
    ),
    "webp-lossless": encode(PHOTOGRAPH, "WEBP", lossless=True),
    "webp-lossless-alpha": encode(RGBA, "WEBP", lossless=True, exact=True),
    "webp-lossy-alpha": encode(RGBA, "WEBP"),
    "webp-animated": encode(
        PHOTOGRAPH, "WEBP", save_all=True, append_images=[PHOTOGRAPH.rotate(9)], lossless=True
    ),
    "bmp-24-bit": make_bmp(24, PIXELS[..., :3].tobytes()),
    "bmp-24-bit-from-the-top": make_bmp(24, PIXELS[..., :3].tobytes(), height=-SIDE),
    "bmp-32-bit-padded": make_bmp(32, STORED),
    "bmp-32-bit-with-masks": make_bmp(32, STORED, compression=3, masks=MASKS[:3]),
    "bmp-alpha-in-version-3": make_bmp(32, STORED, compression=3, header_size=56, masks=MASKS),
    "bmp-alpha-in-version-4": make_bmp(32, STORED, compression=3, header_size=108, masks=MASKS),
    "bmp-alpha-in-version-5": make_bmp(32, STORED, compression=3, header_size=124, masks=MASKS),
    "bmp-alpha-first": make_bmp(
        32, STORED, compression=3, header_size=108, masks=(0xFF000000, 0xFF0000, 0xFF00, 0xFF)
    ),
    "bmp-8-bit-palette": make_bmp(8, PIXELS[..., 0].tobytes(), palette=PALETTE),
    "bmp-8-bit-palette-version-4": make_bmp(
        8, PIXELS[..., 0].tobytes(), palette=PALETTE, header_size=108
    ),
    "bmp-8-bit-palette-of-16": make_bmp(
        8, (PIXELS[..., 0] % 16).tobytes(), palette=PALETTE[: 4 * 16]
    ),
    "bmp-1-bit": make_bmp(1, PIXELS[:, 0].tobytes(), palette=PALETTE[:8]),
    "bmp-4-bit": make_bmp(4, PIXELS[:, 0].tobytes(), palette=PALETTE[:64]),
    "bmp-16-bit": make_bmp(16, PIXELS[..., :2].tobytes()),
    "bmp-16-bit-with-masks": make_bmp(
        16, PIXELS[..., :2].tobytes(), compression=3, masks=(0xF800, 0x7E0, 0x1F)
    ),
    "bmp-24-bit-with-masks": make_bmp(
        24, PIXELS[..., :3].tobytes(), compression=3, masks=MASKS[:3]
    ),
    "bmp-with-empty-masks": make_bmp(32, STORED, compression=3, header_size=56, masks=(0,) * 4),
    "bmp-os2-24-bit": make_old_bmp(24, b"", PIXELS[..., :3].tobytes()),
    "bmp-os2-palette": make_old_bmp(8, PALETTE[:768], PIXELS[..., 0].tobytes()),
    "bmp-os2-1-bit": make_old_bmp(1, PALETTE[:6], PIXELS[:, 0].tobytes()),
    "bmp-os2-version-2": make_bmp(24, PIXELS[..., :3].tobytes(), header_size=64),
    "bmp-1-bit-from-the-top": make_bmp(
        1, PIXELS[:, 0].tobytes(), palette=PALETTE[:8], height=-SIDE
    ),
    "bmp-without-the-place-of-its-pixels": set_number(
        make_bmp(8, PIXELS[..., 0].tobytes(), palette=PALETTE), 10, 0
    ),
    "bmp-whose-pixels-begin-at-its-palette": set_number(
        make_bmp(8, PIXELS[..., 0].tobytes(), palette=PALETTE), 10, 54
    ),
    "png-exif-behind-its-pixels": make_png(
        8, 2, RGB_ROWS, behind=make_chunk(b"eXIf", make_tiff(6))
    ),
    "png-without-its-end": make_png(8, 2, RGB_ROWS)[:-12],
    "png-cut-in-its-end": make_png(8, 2, RGB_ROWS)[:-5],
    "gif-with-a-transparent-colour": make_gif(transparent=3),
    "gif-with-a-transparent-colour-of-its-frame": make_gif(own=16, transparent=15),
    "gif-with-a-palette-of-its-frame": make_gif(shared=0, own=16, transparent=2),
    "gif-transparent-behind-a-comment": make_gif(before=b"\x21\xfe\x03abc\0", transparent=1),
    "gif-transparent-behind-a-loop": make_gif(
        before=b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0", transparent=1
    ),
    "gif-whose-transparent-colour-is-none": make_gif(transparent=200),
    "gif-interlaced-and-transparent": make_gif(transparent=3, flags=0x40),
}
TRAILERS = {"zeros": bytes(500), "line-end": b"\r\n", "a-byte": b"x", "another-image": GREY_PNG}
for kind in ("bmp-24-bit", "bmp-8-bit-palette", "png-rgb", "gif", "webp-lossless"):
    for trailer, extra in TRAILERS.items():
        LOSSLESS[f"{kind}-and-{trailer}"] = LOSSLESS[kind] + extra


@pytest.mark.parametrize("case", LOSSLESS)
def test_a_lossless_image_of_each_kind_is_what_pillow_makes_of_it(case: str) -> None:
    expected = decode_with_pillow(LOSSLESS[case])
    np.testing.assert_allclose(decode(LOSSLESS[case]), expected, atol=1)


@pytest.mark.parametrize("transparent", [None, 5])
def test_a_gif_that_is_smaller_than_its_canvas_is_on_white(transparent: int | None) -> None:
    # Pillow puts it on the first colour of the palette, and browsers on nothing.
    decoded = decode(make_gif(canvas=(13, 11), corner=(3, 1), transparent=transparent))
    expected = decode(make_gif(transparent=transparent))
    np.testing.assert_array_equal(decoded[1 : 1 + SIDE, 3 : 3 + SIDE], expected)
    decoded[1 : 1 + SIDE, 3 : 3 + SIDE] = 255
    np.testing.assert_array_equal(decoded, np.full((11, 13, 3), 255))


def test_a_frame_that_is_smaller_than_the_next_one_is_alone_on_the_canvas() -> None:
    first = make_gif(canvas=(13, 11), corner=(3, 1))
    # Behind the header and a palette of 16 colours the frame begins.
    second = make_gif(corner=(5, 3))[13 + 3 * 16 :]
    np.testing.assert_array_equal(decode(first[:-1] + second), decode(first))


def test_a_gif_that_claims_a_huge_canvas_is_its_frame() -> None:
    assert decode(make_gif(canvas=(65_535, 65_535))).shape == (SIDE, SIDE, 3)


def test_a_bmp_whose_alpha_was_left_empty_is_opaque() -> None:
    empty = PIXELS.copy()
    empty[..., 3] = 0
    data = make_bmp(32, empty.tobytes(), compression=3, header_size=108, masks=MASKS, height=-SIDE)
    np.testing.assert_array_equal(decode(data), PIXELS[..., 2::-1])


def test_a_bmp_in_the_order_of_red_green_blue_has_its_colours() -> None:
    # Pillow refuses this order.
    masks = (0xFF, 0xFF00, 0xFF0000)
    data = make_bmp(32, STORED, compression=3, masks=masks, height=-SIDE)
    np.testing.assert_array_equal(decode(data), PIXELS[..., :3])


def test_a_bmp_with_colours_that_share_a_byte_has_the_highest_bits_of_each() -> None:
    # Pillow refuses these masks.
    masks = (0x3FF00000, 0xFFC00, 0x3FF)
    data = make_bmp(32, STORED, compression=3, masks=masks, height=-SIDE)
    numbers = np.frombuffer(STORED, "<u4").reshape(SIDE, SIDE).astype(int)
    expected = np.stack([numbers >> shift & 1023 for shift in (20, 10, 0)], axis=-1) * 255 // 1023
    np.testing.assert_array_equal(decode(data), expected)


REFUSED = {
    "bmp-run-length": make_bmp(8, b"\x08\x01\0\0" * 16, compression=1, palette=PALETTE),
    "bmp-24-bit-in-another-order": make_bmp(
        24, STORED, compression=3, masks=(0xFF, 0xFF00, 0xFF0000)
    ),
    "bmp-jpeg-inside": make_bmp(24, JPEGS["jpeg-grey"], compression=4),
    "bmp-cut-in-its-pixels": make_bmp(24, PIXELS[..., :3].tobytes())[:-30],
    "bmp-with-masks-of-two-parts": make_bmp(32, STORED, compression=3, masks=(0xF0F, 0xF0, 0xF000)),
    "png-for-ios": LOSSLESS["png-rgb"][:8]
    + make_chunk(b"CgBI", bytes(4))
    + LOSSLESS["png-rgb"][8:],
    "png-cut-in-its-pixels": LOSSLESS["png-rgb"][:-60],
    "bmp-cut-in-its-header": make_bmp(24, PIXELS[..., :3].tobytes())[:20],
    "jpeg-cmyk-cut-in-its-header": CMYK[:40],
    "png-cut-in-its-header": LOSSLESS["png-grey-with-a-transparent-level"][:26],
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_kind_that_would_come_out_wrong_is_an_error(case: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(REFUSED[case])

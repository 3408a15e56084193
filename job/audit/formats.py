"""What a file is by its first bytes, how large its header says it is, and why it may not decode."""

import struct
from typing import NamedTuple

# 178,956,970 pixels: more than any common camera has. TensorFlow's JPEG and PNG decoders stop at
# 2^29 bytes of RGB.
LARGEST_PIXELS = 2**29 // 3

# Enough of a file to recognise its format.
HEAD_BYTES = 512


class ImageFormat(NamedTuple):
    """A format and the bytes at `offset` by which it is recognised."""

    name: str
    magic: bytes
    offset: int = 0


DECODABLE = (
    ImageFormat("JPEG", b"\xff\xd8\xff"),
    ImageFormat("PNG", b"\x89PNG\r\n\x1a\n"),
    ImageFormat("GIF", b"GIF8"),
    ImageFormat("BMP", b"BM"),
    ImageFormat("WebP", b"WEBP", 8),
)

AVIF_BRANDS = (b"avif", b"avis")
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
UNSUPPORTED = (
    ImageFormat("TIFF", b"II*\0"),
    ImageFormat("TIFF", b"MM\0*"),
    ImageFormat("TIFF", b"II+\0"),
    ImageFormat("TIFF", b"MM\0+"),
    *(ImageFormat("AVIF", b"ftyp" + brand, 4) for brand in AVIF_BRANDS),
    *(ImageFormat("HEIC", b"ftyp" + brand, 4) for brand in HEIC_BRANDS),
    ImageFormat("JPEG XL", b"\xff\x0a"),
    ImageFormat("JPEG XL", b"\0\0\0\x0cJXL "),
    ImageFormat("JPEG 2000", b"\0\0\0\x0cjP  "),
    ImageFormat("Photoshop", b"8BPS"),
    ImageFormat("ICO", b"\0\0\x01\0"),
    ImageFormat("SVG", b"<svg"),
)

# Files that are often found among images, as an ending of "it is …".
NOT_IMAGES = (
    ImageFormat("a Git LFS pointer: the image itself was not fetched", b"version https://git-lfs"),
    ImageFormat("a web page, not an image", b"<!DOCTYPE html"),
    ImageFormat("a web page, not an image", b"<html"),
    ImageFormat("a PDF document, not an image", b"%PDF-"),
    ImageFormat("a ZIP archive, not an image", b"PK\x03\x04"),
)

# The bytes at the end of a whole file.
END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "GIF": b";"}

# Where a header gives the file's size, and how many bytes that number leaves out.
SIZE_FIELDS = {"BMP": (2, 0), "WebP": (4, 8)}


def find_decodable(head: bytes) -> str | None:
    """The name of the format, if it is one that `images.decode` takes."""
    return _match_format(DECODABLE, head)


def find_unsupported(head: bytes) -> str | None:
    """The name of the format, if it is an image that `images.decode` does not take."""
    return _match_format(UNSUPPORTED, head)


def describe_unknown(head: bytes) -> str:
    """What a file is that is not an image, as an ending of "it is …"."""
    if not head:
        return "empty (0 bytes)"
    if known := _match_format(NOT_IMAGES, head):
        return known

    # The last character may be cut in two, which is at most 3 bytes.
    text = head.decode("utf-8", errors="ignore")
    num_undecoded = len(head) - len(text.encode())
    # `isprintable` is false for line breaks and tabs, which are in every text.
    is_readable = "".join(text.split()).isprintable()
    if num_undecoded <= 3 and is_readable:
        return "text, not an image"
    return "in no known image format"


def _match_format(formats: tuple[ImageFormat, ...], head: bytes) -> str | None:
    for each in formats:
        if head[each.offset :].startswith(each.magic):
            return each.name
    return None


def read_dimensions(name: str, data: bytes) -> tuple[int, int]:
    """(width, height) from the header of a decodable file, or (0, 0) where it does not say."""
    width, height = 0, 0
    try:
        # A WebP says which of its three kinds it is. The other formats ignore these bytes.
        match name, data[12:16]:
            case "JPEG", _:
                width, height = _read_jpeg_dimensions(data)
            case "PNG", _:
                width, height = struct.unpack_from(">II", data, 16)
            case "GIF", _:
                width, height = struct.unpack_from("<HH", data, 6)
            case "BMP", _:
                width, height = struct.unpack_from("<ii", data, 18)
                # A negative height means rows from top to bottom.
                width, height = abs(width), abs(height)
            case "WebP", b"VP8X":
                # Extended: a canvas with 24 bits a side, less one.
                low, high = struct.unpack_from("<xHB", data, 23)
                width = 1 + low + (high << 16)
                low, high = struct.unpack_from("<xHB", data, 26)
                height = 1 + low + (high << 16)
            case "WebP", b"VP8L":
                # Lossless: 14 bits a side, less one.
                (bits,) = struct.unpack_from("<I", data, 21)
                width = 1 + (bits & 0x3FFF)
                height = 1 + (bits >> 14 & 0x3FFF)
            case "WebP", _:
                # Lossy: 14 bits a side. The other 2 are a hint for display, which decoders ignore.
                width, height = struct.unpack_from("<HH", data, 26)
                width, height = width & 0x3FFF, height & 0x3FFF
    except struct.error:
        # The header is cut short. One side alone would be a wrong answer.
        return 0, 0
    return width, height


def _read_jpeg_dimensions(data: bytes) -> tuple[int, int]:
    """From the start-of-frame segment: C0 to CF, except for the tables among them."""
    at = 2
    while data[at : at + 1] == b"\xff":
        marker, length = struct.unpack_from(">xBH", data, at)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        # FF FF is padding: the next byte may be the marker.
        at += 1 if marker == 0xFF else 2 + length
    return 0, 0


def explain_refusal(width: int, height: int) -> str | None:
    """Why an image of this size is refused before anything is allocated for it, or None."""
    pixels = width * height
    if pixels <= LARGEST_PIXELS:
        return None
    return (
        f"{width}x{height} = {pixels / 1e9:.1f} gigapixels; the limit is {LARGEST_PIXELS / 1e9:.2f}"
    )


def describe_damage(name: str, data: bytes) -> str:
    """Why a file of a decodable format did not decode."""
    if name in END_MARKS:
        # Some writers pad a whole file, which is no damage.
        trimmed = data.rstrip(b"\0\r\n")
        is_short = not trimmed.endswith(END_MARKS[name])
    else:
        at, left_out = SIZE_FIELDS[name]
        declared = int.from_bytes(data[at : at + 4], "little")
        is_short = len(data) < declared + left_out
    if is_short:
        return f"a {name} image that is cut short"
    return f"a {name} image that is damaged, or of a rare kind"

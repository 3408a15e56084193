"""What a file is by its first bytes, how large its header says it is, and why it may not decode."""

import struct
from typing import NamedTuple

LARGEST_PIXELS = 2**29 // 3
"""178,956,970 pixels: more than any common camera has. TensorFlow's JPEG and PNG decoders stop at 2^29 bytes of RGB."""

HEAD_BYTES = 512
"""So much of a file tells its format."""


class ImageFormat(NamedTuple):
    name: str
    magic: bytes
    offset: int = 0


_DECODABLE = (
    ImageFormat("JPEG", b"\xff\xd8\xff"),
    ImageFormat("PNG", b"\x89PNG\r\n\x1a\n"),
    ImageFormat("GIF", b"GIF8"),
    ImageFormat("BMP", b"BM"),
    ImageFormat("WebP", b"WEBP", 8),
)
_UNSUPPORTED = (
    ImageFormat("TIFF", b"II*\0"),
    ImageFormat("TIFF", b"MM\0*"),
    ImageFormat("TIFF", b"II+\0"),
    ImageFormat("TIFF", b"MM\0+"),
    *(ImageFormat("AVIF", b"ftyp" + brand, 4) for brand in (b"avif", b"avis")),
    *(
        ImageFormat("HEIC", b"ftyp" + brand, 4)
        for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
    ),
    ImageFormat("JPEG XL", b"\xff\x0a"),
    ImageFormat("JPEG XL", b"\0\0\0\x0cJXL "),
    ImageFormat("JPEG 2000", b"\0\0\0\x0cjP  "),
    ImageFormat("Photoshop", b"8BPS"),
    ImageFormat("ICO", b"\0\0\x01\0"),
    ImageFormat("SVG", b"<svg"),
)
_OTHERWISE = (
    ImageFormat("a Git LFS pointer: the image itself was not fetched", b"version https://git-lfs"),
    ImageFormat("a web page, not an image", b"<!DOCTYPE html"),
    ImageFormat("a web page, not an image", b"<html"),
    ImageFormat("a PDF document, not an image", b"%PDF-"),
    ImageFormat("a ZIP archive, not an image", b"PK\x03\x04"),
)


def decodable(head: bytes) -> str | None:
    """The name of the format, if it is one that `images.decode` takes."""
    return _match(_DECODABLE, head)


def unsupported(head: bytes) -> str | None:
    """The name of the format, if it is an image that `images.decode` does not take."""
    return _match(_UNSUPPORTED, head)


def describe_unknown(head: bytes) -> str:
    """What a file is that is no image, as an ending of "it is …"."""
    if not head:
        return "empty (0 bytes)"
    return _match(_OTHERWISE, head) or (
        "text, not an image" if _is_text(head) else "in no known image format"
    )


def _match(formats: tuple[ImageFormat, ...], head: bytes) -> str | None:
    return next((one.name for one in formats if head[one.offset :].startswith(one.magic)), None)


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", errors="ignore")  # a character may be cut in two at the end
    is_whole = len(text.encode()) >= len(head) - 3
    return is_whole and all(character.isprintable() or character.isspace() for character in text)


def pixels(name: str, data: bytes) -> tuple[int, int]:
    """(width, height) as the header of a decodable file says; (0, 0) where it does not say."""
    try:
        match name:
            case "JPEG":
                return _jpeg_pixels(data)
            case "PNG":
                return struct.unpack_from(">II", data, 16)
            case "GIF":
                return struct.unpack_from("<HH", data, 6)
            case "BMP":
                width, height = struct.unpack_from("<ii", data, 18)
                return abs(width), abs(height)
            case "WebP":
                return _webp_pixels(data)
    except struct.error:  # the header is cut short
        pass
    return 0, 0


def _jpeg_pixels(data: bytes) -> tuple[int, int]:
    """From the start-of-frame segment: C0 to CF, but for the tables among them."""
    at = 2
    while data[at : at + 1] == b"\xff":
        marker, length = struct.unpack_from(">xBH", data, at)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 1 if marker == 0xFF else 2 + length
    return 0, 0


def _webp_pixels(data: bytes) -> tuple[int, int]:
    """Three kinds of WebP: extended (a canvas; 24 bits a side, less one), lossless (14 bits, less one), lossy (14)."""
    match data[12:16]:
        case b"VP8X":
            width, height = (
                struct.unpack_from("<xHB", data, 23),
                struct.unpack_from("<xHB", data, 26),
            )
            return 1 + width[0] + (width[1] << 16), 1 + height[0] + (height[1] << 16)
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case _:
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF


def too_large(width: int, height: int) -> str | None:
    """Why such an image is refused before anything is allocated for it, or None."""
    if width * height <= LARGEST_PIXELS:
        return None
    return f"{width}x{height} = {width * height / 1e9:.1f} gigapixels; the limit is {LARGEST_PIXELS / 1e9:.2f}"


def damage(name: str, data: bytes) -> str:
    """Why a file of a decodable format did not decode."""
    ends = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "GIF": b";"}
    sizes = {
        "BMP": (2, 0),
        "WebP": (4, 8),
    }  # where the file's size stands, and how much it leaves out
    if name in ends:
        is_short = not data.rstrip(b"\0\r\n").endswith(ends[name])
    else:
        at, rest = sizes[name]
        is_short = len(data) < int.from_bytes(data[at : at + 4], "little") + rest
    return (
        f"a {name} image that is cut short"
        if is_short
        else f"a {name} image that is damaged, or of a rare kind"
    )

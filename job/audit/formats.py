"""What a file is by its first bytes, how large its header says it is, and why it may not decode."""

import struct
import zlib
from typing import NamedTuple

from job.file_kinds import LFS_POINTER, find_file_kind

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
    ImageFormat("JPEG 2000", b"\xff\x4f\xff\x51"),
    ImageFormat("JPEG XR", b"II\xbc"),
    ImageFormat("Photoshop", b"8BPS"),
    ImageFormat("ICO", b"\0\0\x01\0"),
    ImageFormat("CUR", b"\0\0\x02\0"),
    ImageFormat("ICNS", b"icns"),
    ImageFormat("SVG", b"<svg"),
    ImageFormat("DICOM", b"DICM", 128),
    ImageFormat("FITS", b"SIMPLE  ="),
    ImageFormat("OpenEXR", b"\x76\x2f\x31\x01"),
    ImageFormat("Radiance HDR", b"#?RADIANCE"),
    ImageFormat("DDS", b"DDS "),
    ImageFormat("QOI", b"qoif"),
    ImageFormat("GIMP", b"gimp xcf"),
    ImageFormat("PostScript", b"%!PS"),
    ImageFormat("WMF", b"\xd7\xcd\xc6\x9a"),
    ImageFormat("raw of a camera", b"FUJIFILMCCD-RAW"),
    ImageFormat("raw of a camera", b"IIU\0"),
    ImageFormat("raw of a camera", b"IIRO"),
    ImageFormat("raw of a camera", b"ftypcrx ", 4),
    ImageFormat("BMP without its file header", b"(\0\0\0"),
    *(ImageFormat("PNM", b"P%d" % kind + blank) for kind in range(1, 8) for blank in (b"\n", b" ")),
)

# Files that are often found among images, as an ending of "it is …", besides those of `file_kinds`.
NOT_IMAGES = (
    ImageFormat("a ZIP archive, not an image", b"PK\x03\x04"),
    ImageFormat("a RAR archive, not an image", b"Rar!\x1a\x07"),
    ImageFormat("a 7-Zip archive, not an image", b"7z\xbc\xaf\x27\x1c"),
    ImageFormat("compressed by gzip, not an image", b"\x1f\x8b"),
    ImageFormat("an Office document, not an image", b"\xd0\xcf\x11\xe0"),
    ImageFormat("a Windows shortcut, not an image", b"\x4c\0\0\0\x01\x14\x02\0"),
    ImageFormat("what macOS keeps of a file, not an image", b"\0\x05\x16\x07"),
    ImageFormat("a video, not an image", b"ftyp", 4),
    ImageFormat("a video, not an image", b"moov", 4),
    ImageFormat("a video, not an image", b"AVI ", 8),
    ImageFormat("a video, not an image", b"\x1a\x45\xdf\xa3"),
    ImageFormat("a sound, not an image", b"WAVE", 8),
    ImageFormat("a sound, not an image", b"ID3"),
)

# The kinds of decodable formats that are not decoded.
BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)
BMP_BITS = (1, 2, 4, 8, 16, 24, 32)
BMP_COMPRESSIONS = {
    1: "run-length encoding",
    2: "run-length encoding",
    4: "a JPEG inside",
    5: "a PNG inside",
}
# Frames of a JPEG by their marker: baseline, extended and progressive ones, and those that are
# coded arithmetically.
JPEG_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
# Markers from C0 to CF that begin no frame, and the frame of JPEG-LS.
JPEG_TABLES = (0xC4, 0xC8, 0xCC)
JPEG_LS = 0xF7

PLAIN_TEXT = "text, not an image"

# The bytes at the end of a whole file.
END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "GIF": b";"}

# Where a header gives the file's size, and how many bytes that number leaves out.
SIZE_FIELDS = {"BMP": (2, 0), "WebP": (4, 8)}


def find_decodable(head: bytes) -> str | None:
    """The name of the format, if it is one that `images.decode` takes."""
    name = _match_format(DECODABLE, head)
    # Two letters may be the beginning of a text, too.
    return None if name == "BMP" and describe_unknown(head) == PLAIN_TEXT else name


def find_unsupported(head: bytes) -> str | None:
    """The name of the format, if it is an image that `images.decode` does not take."""
    is_svg = head.lstrip(b"\xef\xbb\xbf").startswith(b"<?xml") and b"<svg" in head
    return "SVG" if is_svg else _match_format(UNSUPPORTED, head)


def find_rare_kind(name: str, data: bytes) -> str | None:
    """What a file of a decodable format has that `images.decode` does not take, or None.

    It completes "a JPEG image with …".
    """
    match name:
        case "BMP" if len(data) > 54:
            return _find_rare_bitmap(data)
        case "JPEG":
            return _find_rare_jpeg(data)
        case "PNG" if data[12:16] == b"CgBI":
            return "changes for iOS"
    return None


def _find_rare_bitmap(data: bytes) -> str | None:
    size, bits, compression = struct.unpack_from("<I10xHI", data, 14)
    if size == BMP_HEADER_SIZES[0]:
        bits, compression = data[24], 0
    if size not in BMP_HEADER_SIZES:
        return None
    if compression in BMP_COMPRESSIONS:
        return BMP_COMPRESSIONS[compression]
    if bits not in BMP_BITS:
        return f"{bits} bits per pixel"
    return None


def _find_rare_jpeg(data: bytes) -> str | None:
    at = _find_jpeg_frame(data)
    frame = data[at : at + 10]
    if len(frame) < 10:
        return None
    marker, bits, channels = frame[1], frame[4], frame[9]
    if marker not in JPEG_FRAMES:
        return "lossless or hierarchical coding"
    if bits != 8:
        return f"{bits} bits per sample"
    return f"{channels} channels" if channels not in (1, 3, 4) else None


def describe_unknown(head: bytes) -> str:
    """What a file is that is not an image, as an ending of "it is …"."""
    if not head:
        return "empty (0 bytes)"
    kind = find_file_kind(head)
    if kind is LFS_POINTER:
        return f"{kind.name}: the image itself was not fetched"
    if kind:
        return f"{kind.name}, not an image"
    if known := _match_format(NOT_IMAGES, head):
        return known

    # The last character may be cut in two, which is at most 3 bytes.
    text = head.decode("utf-8", errors="ignore")
    num_undecoded = len(head) - len(text.encode())
    # `isprintable` is false for line breaks and tabs, which are in every text.
    is_readable = "".join(text.split()).isprintable()
    if num_undecoded <= 3 and is_readable:
        return PLAIN_TEXT
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
            case "BMP", _ if data[14:18] == b"\x0c\0\0\0":
                # The older header of OS/2.
                width, height = struct.unpack_from("<HH", data, 18)
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
    at = _find_jpeg_frame(data)
    if at == len(data):
        return 0, 0
    height, width = struct.unpack_from(">HH", data, at + 5)
    return width, height


def _find_jpeg_frame(data: bytes) -> int:
    """Where the segment is that begins the frame: C0 to CF, except for the tables among them.

    The end of the file if there is none.
    """
    at = 2
    while data[at : at + 1] == b"\xff" and at + 4 <= len(data):
        marker, length = struct.unpack_from(">xBH", data, at)
        if marker == JPEG_LS or (0xC0 <= marker <= 0xCF and marker not in JPEG_TABLES):
            return at
        # FF FF is padding: the next byte may be the marker.
        at += 1 if marker == 0xFF else 2 + length
    return len(data)


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
    if name == "PNG" and has_wrong_checksum(data):
        return "a PNG image that is damaged: a checksum is wrong"
    return f"a {name} image that is damaged, or of a rare kind"


def has_wrong_checksum(png: bytes) -> bool:
    """Whether the checksum of a whole chunk is wrong or missing. Some decoders pass over that."""
    at = 8
    while at + 8 <= len(png):
        (size,) = struct.unpack_from(">I", png, at)
        if at + 8 + size > len(png):
            return False
        name_and_payload = png[at + 4 : at + 8 + size]
        checksum = png[at + 8 + size : at + 12 + size]
        if int.from_bytes(checksum, "big") != zlib.crc32(name_and_payload):
            return True
        at += 12 + size
        if name_and_payload[:4] == b"IEND":
            break
    return False

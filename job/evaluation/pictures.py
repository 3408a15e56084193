"""Draw the pictures of the page, as data: URIs."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

# Suspects that the page shows a picture of at most. Its table lists all that it is given.
MOST_SUSPECTS = 12
# Side of a map of evidence. A browser enlarges it to the side of the thumbnail.
MAP_SIDE = 48
# Colour of the evidence, which few photographs have in large areas, and its opacity of 255 where
# there is most.
MAP_COLOUR = (255, 106, 0)
MAP_OPACITY = 205
# Steps of opacity. More of them cannot be seen and would make the page larger.
MAP_STEPS = 32

JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
# Of an image with more pixels no thumbnail is made: a file that was left out may be of any size.
MOST_PIXELS = 2**26


@dataclass(frozen=True, slots=True)
class PictureSize:
    """How large a thumbnail is: at most `side` pixels per side, with a WebP `quality` of 100."""

    side: int
    quality: int


# Of mistakes and suspects, of findings in the data, and of the examples of a class.
LARGE = PictureSize(160, 65)
MEDIUM = PictureSize(112, 62)
SMALL = PictureSize(80, 60)


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture as a data: URI, and the name of the image that it shows."""

    name: str
    uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PagePictures:
    """The pictures of the page. What cannot be read, or does not fit into the page, has none.

    Attributes:
        mistakes: a data: URI for each mistake, in the order of report.json, or None.
        evidence: for each mistake, the map of what spoke for the wrong class, or None.
        named: data: URIs of suspects and findings, by the name of the image.
        examples: by class.
    """

    mistakes: tuple[str | None, ...]
    evidence: tuple[str | None, ...]
    named: Mapping[str, str]
    examples: Mapping[str, tuple[Thumbnail, ...]]


def make_thumbnail(path: Path, size: PictureSize = LARGE) -> str | None:
    """Shrink an image, upright by its EXIF orientation, with transparency on white.

    All kinds of files become WebP, also those that browsers show in other colours or not at all. Of
    a JPEG that is torn off, the part that is there is shown.

    Returns:
        A data: URI, or None for a file that is no picture.
    """
    try:
        image = _read_image(path.read_bytes(), size.side)
    # Pillow raises any of these for a damaged file, depending on the format.
    except (
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ):
        return None
    image.thumbnail((size.side, size.side))
    webp = io.BytesIO()
    image.save(webp, "WEBP", quality=size.quality)
    return _format_uri("webp", webp.getvalue())


def draw_evidence(evidence: NDArray[np.float32]) -> str | None:
    """Draw a map of evidence as a transparent layer for the square picture that the model saw.

    Args:
        evidence: float32 [h, w], above 0 where something speaks for the class.

    Returns:
        A data: URI of a small PNG, or None where nothing speaks for the class.
    """
    strength = np.maximum(evidence, 0)
    most = float(strength.max(initial=0))
    if most <= 0:
        return None
    grey = Image.fromarray((255 * strength / most).astype(np.uint8))
    smooth = grey.resize((MAP_SIDE, MAP_SIDE), Image.Resampling.BICUBIC)
    steps = np.asarray(smooth).astype(np.int64) * (MAP_STEPS - 1) // 255
    layer = Image.fromarray(steps.astype(np.uint8), "P")
    layer.putpalette(MAP_COLOUR * MAP_STEPS)
    opacities = bytes(MAP_OPACITY * step // (MAP_STEPS - 1) for step in range(MAP_STEPS))
    png = io.BytesIO()
    layer.save(png, "PNG", transparency=opacities, optimize=True)
    return _format_uri("png", png.getvalue())


def _read_image(encoded: bytes, side: int) -> Image.Image:
    """Read an image as RGB, upright and on white, with at least `side` pixels if it has them."""
    if encoded.startswith(JPEG_START):
        # The decoder fills up what is missing if it meets an end. What follows the end of a whole
        # file is not read.
        encoded += JPEG_END
    with Image.open(io.BytesIO(encoded)) as image:
        # A large JPEG is decoded in an eighth to a half of its size, which is much faster.
        image.draft("RGB", (2 * side, 2 * side))
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels")
        if image.format == "BMP":
            # Pillow takes alpha that is 0 everywhere for an invisible picture.
            return Image.fromarray(_decode_as_the_model(encoded))
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):
            # Keep the upper 8 of 16 bits: Pillow's own conversion clips at 255.
            upper = np.asarray(upright) >> 8
            upright = Image.fromarray(upper.astype(np.uint8))
        upright = upright.convert("RGBA")
    opaque = Image.new("RGB", upright.size, "white")
    opaque.paste(upright, mask=upright.getchannel("A"))
    return opaque


def _decode_as_the_model(encoded: bytes) -> NDArray[np.uint8]:
    """Decode in the graph's own way: uint8 [h, w, 3]."""
    # Late: two models are compared without TensorFlow.
    import tensorflow as tf

    from job import images

    try:
        return images.decode(tf.constant(encoded)).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(error.message) from error


def _format_uri(kind: str, content: bytes) -> str:
    text = base64.b64encode(content).decode("ascii")
    return f"data:image/{kind};base64,{text}"

"""Make the pictures of the page, as data: URIs."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

# Largest side of a thumbnail in pixels, and its JPEG quality.
SIDE = 220
QUALITY = 82
# Side of a map of evidence. A browser enlarges it to the side of the thumbnail.
MAP_SIDE = 48
# Colour of the evidence, which few photographs have in large areas, and its opacity of 255 where
# there is most.
MAP_COLOUR = (255, 106, 0)
MAP_OPACITY = 205
# Steps of opacity. More of them cannot be seen and would make the page larger.
MAP_STEPS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PagePictures:
    """Pictures as data: URIs, in the order of the rows of report.json. None where there is none.

    Attributes:
        mistakes: a thumbnail of each mistake.
        evidence: for each mistake, the map of what spoke for the wrong class.
        suspects: thumbnails of the first suspects.
    """

    mistakes: tuple[str | None, ...]
    evidence: tuple[str | None, ...]
    suspects: tuple[str | None, ...]


def make_thumbnail(path: Path) -> str | None:
    """Shrink an image to a JPEG of at most `SIDE` pixels per side.

    It is upright by its EXIF orientation, and transparency is on white.

    Returns:
        A data: URI, or None where Pillow cannot read what TensorFlow could. The page then shows
        the name alone.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):
                # Keep the upper 8 of 16 bits: Pillow's own conversion clips at 255.
                upper = np.asarray(upright) >> 8
                upright = Image.fromarray(upper.astype(np.uint8))
            upright = upright.convert("RGBA")
    # Pillow raises any of these for a damaged file, depending on the format.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    thumbnail = Image.new("RGB", upright.size, "white")
    thumbnail.paste(upright, mask=upright.getchannel("A"))
    thumbnail.thumbnail((SIDE, SIDE))
    jpeg = io.BytesIO()
    thumbnail.save(jpeg, "JPEG", quality=QUALITY)
    return _format_uri("jpeg", jpeg.getvalue())


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


def _format_uri(kind: str, content: bytes) -> str:
    text = base64.b64encode(content).decode("ascii")
    return f"data:image/{kind};base64,{text}"

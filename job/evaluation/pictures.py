"""Small pictures for the page, as data: URIs."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SIDE = 220
QUALITY = 82


def thumbnail(path: Path) -> str | None:
    """Shrink an image to a JPEG of at most `SIDE` pixels a side: upright by its EXIF, transparency on white.

    Returns:
        A data: URI, or None where Pillow cannot read what TensorFlow could: the page then shows the
        name alone.
    """
    try:
        with Image.open(path) as image:
            upright = _eight_bits(ImageOps.exif_transpose(image)).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    page = Image.new("RGB", upright.size, "white")
    page.paste(upright, mask=upright.getchannel("A"))
    page.thumbnail((SIDE, SIDE))
    encoded = io.BytesIO()
    page.save(encoded, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode("ascii")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow would cut 16 bits off at 255 instead of keeping the upper 8."""
    return (
        Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.mode.startswith("I")
        else image
    )

"""Shrink images for the page, as data: URIs."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

# Largest side of a thumbnail in pixels, and its JPEG quality.
SIDE = 220
QUALITY = 82


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
    text = base64.b64encode(jpeg.getvalue()).decode("ascii")
    return f"data:image/jpeg;base64,{text}"

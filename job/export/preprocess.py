"""Turn image files into the input of model.onnx, model.tflite and model.keras. Needs NumPy and Pillow.

    import preprocess
    images = preprocess.load(["a.jpg", "b.png"])    # float32 [2, size, size, 3], RGB, 0..255

It follows preprocess.json beside it. The SavedModel needs none of this: it takes the files' bytes.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


def load(paths: Sequence[str | Path]) -> np.ndarray:
    """Decode and fit image files: float32 [len(paths), size, size, 3], RGB, 0..255."""
    rules = json.loads(Path(__file__).with_name("preprocess.json").read_text())
    return np.stack([fit(decode(path), rules["size"], rules["fit"]) for path in paths])


def decode(path: str | Path) -> np.ndarray:
    """The first frame, upright, transparency on white: uint8 [height, width, 3]."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):  # 16 bits a pixel: keep the upper 8
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        is_palette_with_alpha = image.mode == "P" and opened.format == "PNG" and "transparency" in opened.info
        if image.mode in ("RGBA", "LA") or is_palette_with_alpha:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.asarray(image.convert("RGB"))


def fit(image: np.ndarray, size: int, rule: str) -> np.ndarray:
    """Make a square of it: the whole on white (letterbox), its centre (crop) or stretched (squash)."""
    height, width = image.shape[:2]
    if rule == "squash":
        return resize(image, size, size)
    if rule == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return resize(image[top : top + side, left : left + side], size, size)
    longest = max(height, width)
    inner = resize(image, *(max(1, (2 * side * size + longest) // (2 * longest)) for side in (height, width)))
    square = np.full((size, size, 3), 255, np.float32)
    top, left = (size - inner.shape[0]) // 2, (size - inner.shape[1]) // 2
    square[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return square


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear with antialias, without rounding to whole grey levels: float32 [height, width, 3]."""
    planes = np.moveaxis(image.astype(np.float32), -1, 0)
    resized = [Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR) for plane in planes]
    return np.stack([np.asarray(plane) for plane in resized], axis=-1)

"""JPEGs that cost what photographs cost: about 187,000 pixels and 50 KB each, in five classes."""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tools import photographs
from tools.suite.scenes import paste_on_background

# As many pixels as 500 x 375 has.
SIDE = 432
QUALITY = 90
# What a photograph may occur in: no photograph is in two parts.
SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}


def draw_pictures(folder: Path, count: int) -> Path:
    """Write `<part>/<class>/<number>.jpg` into a folder, the same ones every time.

    Each is a real photograph at a random place before a random background.

    Args:
        folder: is made.
        count: of the pictures in all parts, about.
    """
    sources = sorted(photographs.ensure_photographs().glob("*/*.png"))
    for name in sorted({path.parent.name for path in sources}):
        own = [path for path in sources if path.parent.name == name]
        first = 0
        for part, share in SHARES.items():
            last = len(own) if part == "test" else first + round(len(own) * share)
            _draw_part(folder / part / name, own[first:last], round(count * share / 5))
            first = last
    return folder


def _draw_part(folder: Path, sources: list[Path], count: int) -> None:
    folder.mkdir(parents=True)
    seed = zlib.crc32(f"{folder.parent.name}/{folder.name}".encode())
    draw = np.random.default_rng(seed)
    for number in range(count):
        with Image.open(sources[number % len(sources)]) as file:
            photograph = file.convert("RGBA")
        picture = paste_on_background(photograph, draw, SIDE)
        picture.save(folder / f"{number:05}.jpg", quality=QUALITY)

"""The real pictures of the suite: scikit-learn's digits and two Debian packages."""

import functools
import gzip
from pathlib import Path

import numpy as np
from PIL import Image

from tools import photographs
from tools.debian import unpack_package

FASHION_PACKAGE = "dataset-fashion-mnist"
FASHION_FOLDER = Path("usr/share/datasets/fashion-mnist")
FASHION_CLASSES = (
    *("top", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "boot"),
)
# Bytes before the numbers in a file of MNIST's format: of images and of labels.
IMAGE_HEADER, LABEL_HEADER = 16, 8
FASHION_SIDE = 28
# The stamps are larger than any picture of the suite.
PHOTOGRAPH_SIDE = 224


def load_digits() -> tuple[np.ndarray, tuple[str, ...]]:
    """scikit-learn's handwritten digits: (uint8 [1797, 8, 8], a class name for each)."""
    from sklearn import datasets

    found = datasets.load_digits()
    # 17 levels of grey, from 0 to 16.
    pixels = (found.images * 15).astype(np.uint8)
    return pixels, tuple(map(str, found.target))


@functools.cache
def load_fashion() -> tuple[np.ndarray, tuple[str, ...]]:
    """Fashion-MNIST: (uint8 [70000, 28, 28], a class name for each)."""
    folder = _ensure_fashion()
    pixels = []
    names: list[str] = []
    for part in ("train", "t10k"):
        images = _read_numbers(folder / f"{part}-images-idx3-ubyte.gz", IMAGE_HEADER)
        labels = _read_numbers(folder / f"{part}-labels-idx1-ubyte.gz", LABEL_HEADER)
        pixels.append(images.reshape(-1, FASHION_SIDE, FASHION_SIDE))
        names.extend(FASHION_CLASSES[label] for label in labels)
    return np.concatenate(pixels), tuple(names)


@functools.cache
def load_photographs() -> tuple[tuple[Image.Image, ...], tuple[str, ...]]:
    """The cut-out photographs: (RGBA pictures of at most 224 px, a class name for each)."""
    pictures = []
    names = []
    for path in sorted(photographs.ensure_photographs().glob("*/*.png")):
        with Image.open(path) as file:
            picture = file.convert("RGBA")
        picture.thumbnail((PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE), Image.Resampling.LANCZOS)
        pictures.append(picture)
        names.append(path.parent.name)
    return tuple(pictures), tuple(names)


def _ensure_fashion() -> Path:
    """The folder with the four files of Fashion-MNIST, fetched when it is not there yet."""
    folder = photographs.cache() / "datasets" / "fashion-mnist"
    with photographs.workspace() as work:
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            (unpack_package(FASHION_PACKAGE, work) / FASHION_FOLDER).rename(folder)
    return folder


def _read_numbers(path: Path, header: int) -> np.ndarray:
    """The bytes of a packed file behind its header: uint8 [n]."""
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)

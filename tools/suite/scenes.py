"""Photographs as a camera would show them: before something, and each time a little different."""

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

WHITE = (255, 255, 255)


def paste_on_background(
    photograph: Image.Image, draw: np.random.Generator, side: int
) -> Image.Image:
    """A cut-out photograph at a random place, size and angle before a background that is drawn.

    Args:
        photograph: RGBA.
        draw: random numbers.
        side: of the RGB picture, in pixels.
    """
    background = draw_background(draw, side)
    turned = _shrink_photograph(photograph, side).rotate(
        draw.uniform(-25, 25), Image.Resampling.BICUBIC, expand=True
    )
    longest = side * draw.uniform(0.35, 0.8)
    factor = longest / max(turned.size)
    width, height = (max(1, round(length * factor)) for length in turned.size)
    small = turned.resize((width, height), Image.Resampling.LANCZOS)
    left = int(draw.integers(0, side - width + 1))
    upper = int(draw.integers(0, side - height + 1))
    background.paste(small, (left, upper), small)
    return background


def draw_background(draw: np.random.Generator, side: int) -> Image.Image:
    """Clouds, stripes, tiles or a slope between random colours, with grain: RGB."""
    colours = draw.uniform(0, 255, (2, 3))
    across, down = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
    angle = draw.uniform(0, 2 * np.pi)
    slope = np.cos(angle) * across + np.sin(angle) * down
    waves = draw.uniform(3, 14)
    match draw.integers(4):
        case 0:
            share = (slope - slope.min()) / np.ptp(slope)
        case 1:
            share = (np.sin(2 * np.pi * waves * slope) + 1) / 2
        case 2:
            share = (np.floor(waves * across) + np.floor(waves * down)) % 2
        case _:
            cells = int(draw.integers(3, 13))
            coarse = draw.integers(0, 256, (cells, cells)).astype(np.uint8)
            clouds = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
            share = np.asarray(clouds) / 255
    pixels = colours[0] + share[..., None] * (colours[1] - colours[0])
    pixels += draw.normal(0, draw.uniform(2, 20), (side, side, 1))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def draw_view(photograph: Image.Image, draw: np.random.Generator, side: int) -> Image.Image:
    """A cut-out photograph on white that is turned, cut, blurred and recoloured a little.

    Args:
        photograph: RGBA.
        draw: random numbers.
        side: of the RGB picture, in pixels.
    """
    turned = _shrink_photograph(photograph, 2 * side).rotate(
        draw.uniform(-30, 30), Image.Resampling.BICUBIC, expand=True
    )
    whole = Image.new("RGB", turned.size, WHITE)
    whole.paste(turned, (0, 0), turned)
    shares = draw.uniform(0.55, 1, 2)
    width, height = (max(8, round(n * share)) for n, share in zip(whole.size, shares, strict=True))
    left = int(draw.integers(0, max(1, whole.width - width + 1)))
    upper = int(draw.integers(0, max(1, whole.height - height + 1)))
    part = whole.crop((left, upper, left + width, upper + height))
    part.thumbnail((side, side), Image.Resampling.LANCZOS)
    blurred = part.filter(ImageFilter.GaussianBlur(draw.uniform(0, 1.5)))
    coloured = ImageEnhance.Color(blurred).enhance(draw.uniform(0.3, 1.3))
    return ImageEnhance.Brightness(coloured).enhance(draw.uniform(0.6, 1.2))


def _shrink_photograph(photograph: Image.Image, side: int) -> Image.Image:
    """A copy of at most so many pixels a side: to turn a large one takes most of the time."""
    small = photograph.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small

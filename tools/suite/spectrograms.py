"""Pictures of sounds in noise: what no photograph looks like."""

from collections.abc import Callable

import numpy as np
from PIL import Image

# Samples in a second, and samples of one second of sound.
RATE = 4096
TIMES = np.arange(RATE) / RATE
WINDOW, HOP = 160, 41
LOWEST, HIGHEST = 250.0, 1700.0
# Dark blue, violet, orange and pale yellow, as spectrograms are usually shown.
COLOURS = np.array([[0, 0, 20], [70, 15, 110], [190, 55, 85], [250, 150, 20], [252, 255, 165]])


def _draw_tone(draw: np.random.Generator) -> np.ndarray:
    return np.sin(2 * np.pi * draw.uniform(LOWEST, HIGHEST) * TIMES)


def _draw_chirp(draw: np.random.Generator) -> np.ndarray:
    """A tone that slides over 60 to 400 Hz, up or down."""
    start = draw.uniform(LOWEST, HIGHEST)
    slide = draw.uniform(60, 400) * draw.choice([-1, 1])
    return np.sin(2 * np.pi * (start * TIMES + slide / 2 * TIMES**2))


def _draw_tremolo(draw: np.random.Generator) -> np.ndarray:
    """A tone whose loudness swings 3 to 12 times a second (AM)."""
    swing = np.sin(2 * np.pi * (draw.uniform(3, 12) * TIMES + draw.uniform()))
    return _draw_tone(draw) * (1 + draw.uniform(0.4, 0.9) * swing)


def _draw_vibrato(draw: np.random.Generator) -> np.ndarray:
    """A tone whose pitch swings 2 to 8 times a second (FM)."""
    swings = draw.uniform(2, 8)
    phase = 2 * np.pi * draw.uniform(LOWEST, HIGHEST) * TIMES
    depth = draw.uniform(30, 120) / swings
    return np.sin(phase + depth * np.sin(2 * np.pi * (swings * TIMES + draw.uniform())))


def _draw_chord(draw: np.random.Generator) -> np.ndarray:
    """A tone with a fainter second one anywhere."""
    return _draw_tone(draw) + draw.uniform(0.4, 0.9) * _draw_tone(draw)


def _draw_steps(draw: np.random.Generator) -> np.ndarray:
    """A tone that jumps to another pitch nearby, two to four times."""
    jumps = np.sort(draw.uniform(0.1, 0.9, draw.integers(2, 5)))
    pitches = draw.uniform(LOWEST, HIGHEST) + draw.uniform(-180, 180, len(jumps) + 1)
    pitch = pitches[np.searchsorted(jumps, TIMES)]
    return np.sin(2 * np.pi * np.cumsum(pitch) / RATE)


def _draw_bursts(draw: np.random.Generator) -> np.ndarray:
    """A tone that is on and off, 3 to 8 times a second."""
    cycle = (draw.uniform(3, 8) * TIMES + draw.uniform()) % 1
    return _draw_tone(draw) * (cycle < draw.uniform(0.4, 0.75))


def _draw_band(draw: np.random.Generator) -> np.ndarray:
    """Noise in a narrow band."""
    spectrum = np.fft.rfft(draw.normal(size=RATE))
    pitches = np.fft.rfftfreq(RATE, 1 / RATE)
    centre = draw.uniform(LOWEST, HIGHEST)
    spectrum[np.abs(pitches - centre) > draw.uniform(8, 30)] = 0
    sound = np.fft.irfft(spectrum, RATE)
    return sound / (sound.std() * 2**0.5)


# No two of them are mirror images in time, because training flips pictures.
SOUNDS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "band": _draw_band,
    "bursts": _draw_bursts,
    "chirp": _draw_chirp,
    "chord": _draw_chord,
    "steps": _draw_steps,
    "tone": _draw_tone,
    "tremolo": _draw_tremolo,
    "vibrato": _draw_vibrato,
}


def draw_spectrogram(sound: str, draw: np.random.Generator, side: int) -> Image.Image:
    """A picture of one second of a sound in noise: time to the right, pitch upwards, RGB."""
    loudness = draw.uniform(0.4, 1.2)
    samples = loudness * SOUNDS[sound](draw) + draw.normal(size=RATE)
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW))) ** 2
    decibels = 10 * np.log10(power.T[::-1] + 1e-6)
    low, high = np.percentile(decibels, [5, 99.7])
    levels = np.clip((decibels - low) / (high - low), 0, 1) * (len(COLOURS) - 1)
    places = np.arange(len(COLOURS))
    channels = [np.interp(levels, places, channel) for channel in COLOURS.T]
    picture = Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))
    return picture.resize((side, side), Image.Resampling.BOX)

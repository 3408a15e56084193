"""The tasks of the suite: small image classifications in the four quadrants of the lecture.

    python -m tools.suite.tasks TASK SEED FOLDER     # writes one, such as `graft run` takes it

Each task has a given split, and each seed draws another one. A picture, and what is made of one
photograph, is in one part only.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
from PIL import Image

from job.settings import SplitName
from tools.suite import sources
from tools.suite.scenes import draw_view, paste_on_background
from tools.suite.spectrograms import SOUNDS, draw_spectrogram

# What a part of a split holds: (class, picture).
Pictures = Iterator[tuple[str, Image.Image]]
Scene = Callable[[Image.Image, np.random.Generator, int], Image.Image]
PARTS: tuple[SplitName, ...] = ("train", "val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task.

    Attributes:
        name: of its folder.
        amount: of training images, as the lecture's square has it.
        kind: whether the pictures look like those of ImageNet.
        side: of the network's input, in pixels.
        sizes: images, or photographs that images are made of, in train, val and test.
        draw: (the task, random numbers) -> the pictures of each part.
    """

    name: str
    amount: Literal["little", "much"]
    kind: Literal["like", "unlike"]
    side: int
    sizes: tuple[int, int, int]
    draw: Callable[["Task", np.random.Generator], Mapping[SplitName, Pictures]]

    def shrink(self, divisor: int) -> Self:
        """The same task with fewer images or photographs in each part."""
        train, val, test = (size // divisor for size in self.sizes)
        return replace(self, sizes=(train, val, test))

    def write(self, seed: int, folder: Path) -> None:
        """Write the draw of a seed as `folder/<part>/<class>/<number>.png`."""
        # Not the seed alone: two tasks on the same pictures are to draw different ones.
        name = int.from_bytes(self.name.encode()[:16].ljust(16), "big")
        generator = np.random.default_rng([seed, name])
        for part, pictures in self.draw(self, generator).items():
            for number, (label, picture) in enumerate(pictures):
                place = folder / part / label
                place.mkdir(parents=True, exist_ok=True)
                picture.save(place / f"{number:05d}.png")


def deal_evenly(
    labels: Sequence[str], sizes: Sequence[int], draw: np.random.Generator
) -> dict[SplitName, np.ndarray]:
    """Deal numbers of images out to the parts, each with the classes in the same shares.

    Args:
        labels: the class of each image.
        sizes: of train, val and test. What is left over is in none.
        draw: random numbers.
    """
    names = np.array(labels)
    places = np.empty(len(names))
    for name in np.unique(names):
        members = np.flatnonzero(names == name)
        ranks = draw.permutation(len(members))
        # The members of each class are spread evenly over 0 to 1, so any stretch has its share.
        places[members] = (ranks + draw.uniform(size=len(members))) / len(members)
    order = np.argsort(places)
    ends = np.cumsum(sizes)
    parts = np.split(order[: ends[-1]], ends[:-1])
    return dict(zip(PARTS, parts, strict=True))


def _draw_digits(task: Task, draw: np.random.Generator) -> dict[SplitName, Pictures]:
    return _draw_grey(*sources.load_digits(), task, draw)


def _draw_fashion(task: Task, draw: np.random.Generator) -> dict[SplitName, Pictures]:
    return _draw_grey(*sources.load_fashion(), task, draw)


def _draw_grey(
    pixels: np.ndarray, labels: Sequence[str], task: Task, draw: np.random.Generator
) -> dict[SplitName, Pictures]:
    """Pictures of an array uint8 [n, side, side] as they are."""
    parts = deal_evenly(labels, task.sizes, draw)

    def open_pictures(numbers: np.ndarray) -> Pictures:
        for number in numbers:
            yield labels[number], Image.fromarray(pixels[number])

    return {part: open_pictures(numbers) for part, numbers in parts.items()}


def _draw_photographs(task: Task, draw: np.random.Generator) -> dict[SplitName, Pictures]:
    """The photographs as they are, cut out."""
    pictures, labels = sources.load_photographs()
    parts = deal_evenly(labels, task.sizes, draw)

    def open_pictures(numbers: np.ndarray) -> Pictures:
        for number in numbers:
            yield labels[number], pictures[number]

    return {part: open_pictures(numbers) for part, numbers in parts.items()}


def _draw_scenes(
    make: Scene, copies: Mapping[SplitName, int]
) -> Callable[[Task, np.random.Generator], Mapping[SplitName, Pictures]]:
    """Several pictures of each photograph. Those of one are in one part."""

    def draw_parts(task: Task, draw: np.random.Generator) -> dict[SplitName, Pictures]:
        pictures, labels = sources.load_photographs()
        parts = deal_evenly(labels, task.sizes, draw)

        def make_pictures(part: SplitName) -> Pictures:
            for number in np.repeat(parts[part], copies[part]):
                yield labels[number], make(pictures[number], draw, task.side)

        return {part: make_pictures(part) for part in PARTS}

    return draw_parts


def _draw_sounds(task: Task, draw: np.random.Generator) -> dict[SplitName, Pictures]:
    def make_pictures(images: int) -> Pictures:
        for number in range(images):
            sound = list(SOUNDS)[number % len(SOUNDS)]
            yield sound, draw_spectrogram(sound, draw, task.side)

    return {part: make_pictures(size) for part, size in zip(PARTS, task.sizes, strict=True)}


_ALL_TASKS = (
    Task(
        name="tuxpaint-96",
        amount="little",
        kind="like",
        side=96,
        sizes=(60, 20, 140),
        draw=_draw_photographs,
    ),
    Task(
        name="tuxpaint-224",
        amount="little",
        kind="like",
        side=224,
        sizes=(60, 20, 140),
        draw=_draw_photographs,
    ),
    Task(
        name="digits",
        amount="little",
        kind="unlike",
        side=64,
        sizes=(500, 150, 1147),
        draw=_draw_digits,
    ),
    Task(
        name="fashion-500",
        amount="little",
        kind="unlike",
        side=64,
        sizes=(500, 150, 1000),
        draw=_draw_fashion,
    ),
    Task(
        name="spectrograms",
        amount="little",
        kind="unlike",
        side=96,
        sizes=(600, 200, 1000),
        draw=_draw_sounds,
    ),
    Task(
        name="pasted",
        amount="much",
        kind="like",
        side=96,
        sizes=(140, 40, 40),
        draw=_draw_scenes(paste_on_background, {"train": 6, "val": 5, "test": 10}),
    ),
    Task(
        name="views",
        amount="much",
        kind="like",
        side=64,
        sizes=(140, 40, 40),
        draw=_draw_scenes(draw_view, {"train": 4, "val": 4, "test": 10}),
    ),
    Task(
        name="fashion-2000",
        amount="much",
        kind="unlike",
        side=64,
        sizes=(2000, 400, 1000),
        draw=_draw_fashion,
    ),
    Task(
        name="digits-1200",
        amount="much",
        kind="unlike",
        side=32,
        sizes=(1200, 200, 397),
        draw=_draw_digits,
    ),
)
TASKS: Mapping[str, Task] = {task.name: task for task in _ALL_TASKS}

if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in TASKS:
        sys.exit(f"{__doc__}\nTASK is one of {', '.join(TASKS)}.")
    TASKS[sys.argv[1]].write(int(sys.argv[2]), Path(sys.argv[3]))

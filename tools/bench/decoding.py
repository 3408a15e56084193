"""How fast images become batches, beside a bare decoder of JPEGs."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.bench.measuring import Sample, Sides, Workplace, join_devices, time_work
from tools.bench.pictures import draw_pictures

PICTURES, EPOCHS = 320, 4
SIDE, BATCH = 160, 32
THREADS = 2


def prepare_same(place: Workplace) -> Sides:
    """The bare decoder beside itself: what a difference of nothing looks like."""
    join_devices()
    work = _decode_bare(_list_pictures(place.folder), EPOCHS)
    return Sides(work, work)


def prepare_decoding(place: Workplace, augmentation: str, kept: bool = False) -> Sides:
    """The feed of a training beside the bare decoder, both over several epochs in one pass.

    A pass includes what TensorFlow does to its graph, as in a training.

    Args:
        place: where the pictures are.
        augmentation: of the feed.
        kept: whether the images were decoded before, as in all epochs but the first.
    """
    from job import telemetry
    from job.audit import Example, Splits
    from job.batches import Feed
    from job.features import FeatureCache

    join_devices()
    paths = _list_pictures(place.folder)
    examples = tuple(
        Example(path=path, name=path.name, label=0, sha256=path.name, format="JPEG")
        for path in paths
    )
    splits = Splits(
        classes=("all",),
        train=examples,
        val=(),
        test=(),
        near_duplicates=(),
        leaks=(),
        given=False,
    )
    feed = Feed(
        splits=splits,
        image_size=SIDE,
        image_fit="letterbox",
        batch_size=BATCH,
        seed=0,
        augmentation=augmentation,
        label_smoothing=0.0,
        class_weights="none",
    )

    pixels = None
    if kept:
        cache = FeatureCache(place.folder / "features", 10**10)
        quiet = telemetry.silent()
        pixels = cache.load_pixels(feed.pixel_type, "bench", feed, examples, quiet)

    def load() -> None:
        for _ in feed.load_epochs(0, pixels=pixels).take(EPOCHS * feed.steps):
            pass

    rival = _decode_bare(paths, EPOCHS)
    images = EPOCHS * len(paths)
    notes: dict[str, float] = {}

    def ours() -> Sample:
        sample = time_work(load)
        notes["images per second"] = images / sample.seconds
        return sample

    def bare() -> Sample:
        sample = rival()
        notes["rival's images per second"] = images / sample.seconds
        return sample

    ours(), bare()  # the first time traces the decoder
    return Sides(ours, bare, notes)


def _list_pictures(folder: Path) -> list[Path]:
    """The pictures of all rows of this module, which are drawn once."""
    pictures = folder.parent / "decoded"
    if not pictures.exists():
        draw_pictures(pictures, PICTURES)
    return sorted(pictures.rglob("*.jpg"))[:PICTURES]


def _decode_bare(paths: list[Path], epochs: int) -> Callable[[], Sample]:
    """`tf.io.decode_jpeg` on two threads: nothing is resized or batched."""
    import tensorflow as tf

    def decode(path: Any) -> Any:
        return tf.io.decode_jpeg(tf.io.read_file(path), channels=3)

    def work() -> None:
        files = tf.data.Dataset.from_tensor_slices([str(path) for path in paths]).repeat(epochs)
        pixels = files.map(decode, num_parallel_calls=THREADS, deterministic=True)
        # In C++: a loop in Python would be part of the time.
        pixels.reduce(0, lambda rows, image: rows + tf.shape(image)[0]).numpy()

    return functools.partial(time_work, work)

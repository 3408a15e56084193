"""How often does GRAFT_TRIGGER_DRIFT_P raise a false alarm, and which changes does it find?

    python -m tools.bench.drift

Prints Markdown. It takes the features of 220 photographs on EfficientNetLite0, and those of
the same photographs after one change. Some are drawn as the new ones, and the changed ones take
their places. The test is the product's own, `job.measurement.two_samples`.
"""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from job import audit, dataset, settings
from job.batches import collect_labels
from job.context import RunContext
from job.measurement import compare_samples, two_samples
from job.pipeline import phases
from job.pipeline.inputs import RunInputs
from job.selection import freeze_backbone
from job.telemetry import silent
from job.workers import Stop
from tools.cache import CACHE

LEVELS = (0.01, 0.05)
NEW = (5, 10, 20, 40)
FALSE_ALARM_DRAWS, POWER_DRAWS = 500, 40

Picture = Image.Image
Features = NDArray[np.float32]


def compress(picture: Picture) -> Picture:
    """JPEG at quality 15."""
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=15)
    return Image.open(written)


def scale_channels(picture: Picture, factors: Sequence[float]) -> Picture:
    """Another white balance."""
    pixels = np.asarray(picture) * np.array(factors)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def add_noise(picture: Picture) -> Picture:
    """Gaussian noise of 20 of 255 steps."""
    pixels = np.asarray(picture) + np.random.default_rng(0).normal(0, 20, (*picture.size[::-1], 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "none": lambda picture: picture,
    "noise": add_noise,
    "grey": lambda picture: picture.convert("L"),
    "JPEG at quality 15": compress,
    "a little out of focus": lambda picture: picture.filter(
        ImageFilter.GaussianBlur(max(picture.size) / 160)
    ),
    "turned by 90 degrees": lambda picture: picture.rotate(90, expand=True),
    "darker, 0.6 of the light": lambda picture: ImageEnhance.Brightness(picture).enhance(0.6),
    "warmer light": lambda picture: scale_channels(picture, (1.15, 1.0, 0.8)),
}


def main() -> None:
    """Print the rates of false alarms, and of each change that is found."""
    two_samples.PERMUTATIONS = 199
    with TemporaryDirectory() as folder:
        features, labels = compute_features(Path(folder))
    largest = int(np.bincount(labels).argmax())
    print("| new images | draws | p at most 0.01 | p at most 0.05 |\n|---|---|---|---|")
    for text, pool in (
        ("20 of all classes", np.arange(len(labels))),
        ("20 of one class", np.flatnonzero(labels == largest)),
    ):
        rates = measure_rates(features["none"], features["none"], labels, pool, 20)
        print(f"| {text} | {FALSE_ALARM_DRAWS} | {rates[0]:.3f} | {rates[1]:.3f} |")
    print(f"\n| change | {' | '.join(map(str, NEW))} |\n|---|{'---|' * len(NEW)}")
    for name in list(CHANGES)[1:]:
        found = []
        for new in NEW:
            rates = measure_rates(
                features["none"], features[name], labels, np.arange(len(labels)), new
            )
            found.append(f"{rates[0]:.0%}")
        print(f"| {name} | {' | '.join(found)} |")


def measure_rates(
    known: Features, changed: Features, labels: NDArray[np.int64], pool: NDArray[np.int64], new: int
) -> list[float]:
    """How often the test finds a difference at each of `LEVELS`.

    Args:
        known: features of the photographs, float32 [n, d].
        changed: what the new ones have in their place, float32 [n, d].
        labels: their classes, int [n].
        pool: which of them may be new.
        new: how many are.
    """
    generator = np.random.default_rng(20_261_128)
    draws = FALSE_ALARM_DRAWS if known is changed else POWER_DRAWS
    p_values = []
    for seed in range(draws):
        is_new = np.zeros(len(labels), bool)
        is_new[generator.choice(pool, new, replace=False)] = True
        features = np.where(is_new[:, None], changed, known)
        p_values.append(compare_samples(features, labels, is_new, seed).p_value)
    return [float(np.mean(np.array(p_values) <= level)) for level in LEVELS]


def compute_features(folder: Path) -> tuple[dict[str, Features], NDArray[np.int64]]:
    """Features of all photographs by change, float32 [n, d], and their classes, int [n]."""
    features = {}
    frozen = None
    for name, change in CHANGES.items():
        changed = folder / name.replace(" ", "-")
        write_changed(changed, change)
        given = settings.load(
            {
                "GRAFT_DATASET_URI": str(changed),
                "GRAFT_OUTPUT_URI": str(folder / "models"),
                "GRAFT_CACHE_DIR": str(folder / "cache"),
                "GRAFT_BACKBONE_NAME": "EfficientNetLite0",
            }
        )
        telemetry = silent()
        data = dataset.fetch(dataset.survey(given.dataset), given.dataset, given.cache, telemetry)
        inputs = RunInputs(settings=given, data=data, run_id="drift")
        context = RunContext(telemetry=telemetry, stop=Stop(), keras_home=CACHE / "keras")
        training = phases.make_training_context(
            inputs, phases.join_devices(given, context), context
        )
        census = audit.inspect(data, 0.0, folder / "audit", telemetry)
        splits = audit.hold_out(census, census.classes)
        if frozen is None:
            weights, _ = phases.locate_weights(given, splits, context.keras_home)
            frozen = freeze_backbone(given.backbone.name, given, weights, splits, training)
        # A change gives other digests, and with them another order.
        examples = sorted(splits.test, key=lambda example: example.name)
        features[name] = training.cache.load(frozen.network, frozen.feed, examples, telemetry)[:]
        labels = collect_labels(examples)
    return features, labels


def write_changed(folder: Path, change: Callable[[Picture], Picture]) -> None:
    """Write each photograph after a change."""
    for path in (CACHE / "photographs").glob("*/*.png"):
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        picture = change(Image.open(path).convert("RGB")).convert("RGB")
        picture.save(folder / path.parent.name / path.name, compress_level=1)


if __name__ == "__main__":
    main()

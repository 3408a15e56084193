"""What whole processes take, from `exec` on."""

import itertools
import json
import sys
from pathlib import Path
from statistics import fmean

from tools import photographs
from tools.bench.measuring import Sample, Sides, Workplace, time_command
from tools.bench.pictures import draw_pictures

GRAFT = (sys.executable, "-m", "job")
PLAIN = (sys.executable, "-c", "pass")
TENSORFLOW = (sys.executable, "-c", "import tensorflow")
FIRST_BATCH = (sys.executable, "-m", "tools.bench.first_batch")
GUIDE = (sys.executable, "-m", "tools.bench.guide")
SIDE = 160
QUICK_PICTURES, FULL_PICTURES = 250, 2_000


def prepare_settings_error(_: Workplace) -> Sides:
    """From exec to exit, beside a Python that does nothing."""
    wrong = {"GRAFT_DATASTE_URI": "file:///nowhere"}
    return Sides(
        lambda: time_command((*GRAFT, "settings"), wrong, 2),
        lambda: time_command(PLAIN),
    )


def prepare_first_step(place: Workplace) -> Sides:
    """`graft run` up to its first batch, with a warm cache, beside importing TensorFlow."""
    variables = {
        **_name_run(place.folder, photographs.ensure_photographs()),
        "GRAFT_TRANSFER_MODE": "none",
    }
    time_command(FIRST_BATCH, variables)  # fills the cache
    return Sides(lambda: time_command(FIRST_BATCH, variables), lambda: time_command(TENSORFLOW))


def prepare_model(place: Workplace) -> Sides:
    """From nothing to a model on disk, beside two and one epochs of the Keras guide."""
    count = QUICK_PICTURES if place.quick else FULL_PICTURES
    pictures = draw_pictures(place.folder / "pictures", count)
    numbers = itertools.count()
    accuracies: dict[str, list[float]] = {"accuracy": [], "rival's accuracy": []}
    notes = {"pictures": float(count)}

    def note_accuracy(name: str, accuracy: float) -> None:
        accuracies[name].append(accuracy)
        notes[name] = fmean(accuracies[name])

    def ours() -> Sample:
        # Each turn begins without a cache.
        folder = place.folder / f"ours-{next(numbers)}"
        result = folder / "result.json"
        variables = {
            **_name_run(folder, pictures),
            "GRAFT_BACKBONE_IMAGE_SIZE": str(SIDE),
            "GRAFT_TRANSFER_MODE": "none",
            "GRAFT_EXPORT_FORMATS": "saved_model",
            "GRAFT_RESULT_PATH": str(result),
        }
        sample = time_command((*GRAFT, "run"), variables)
        note_accuracy("accuracy", json.loads(result.read_text())["scores"]["accuracy"])
        return sample

    def rival() -> Sample:
        folder = place.folder / f"rival-{next(numbers)}"
        folder.mkdir()
        sample = time_command((*GUIDE, str(pictures), str(folder), str(SIDE)), name_weights())
        note_accuracy("rival's accuracy", json.loads((folder / "accuracy.json").read_text()))
        return sample

    return Sides(ours, rival, notes)


def _name_run(folder: Path, data: Path) -> dict[str, str]:
    """The variables of a run that keeps everything in a folder of its own."""
    return {
        **name_weights(),
        "GRAFT_NAME": "bench",
        "GRAFT_DATASET_URI": data.as_uri(),
        "GRAFT_OUTPUT_URI": (folder / "models").as_uri(),
        "GRAFT_CACHE_DIR": str(folder / "cache"),
        "GRAFT_BACKBONE_NAME": "EfficientNetLite0",
        "GRAFT_TELEMETRY_PORT": "0",
    }


def name_weights() -> dict[str, str]:
    """The variable by which a run finds the weights of the backbone."""
    return {"KERAS_HOME": str(photographs.ensure_weights().parents[1])}

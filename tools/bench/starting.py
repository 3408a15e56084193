"""What whole processes take, from `exec` on."""

import itertools
import json
import sys
from collections.abc import Callable
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
QUICK_PICTURES, FULL_PICTURES, WHOLE_PICTURES = 250, 2_000, 5_000
# Of the Keras guide, on the frozen backbone and on all of it: what is run, and the whole recipe.
RUN_EPOCHS, WHOLE_EPOCHS = (2, 2), (20, 10)


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
    return _compare_with_guide(place, count, run_guide)


def prepare_whole_guide(place: Workplace) -> Sides:
    """From nothing to a model on disk, beside the whole recipe of the Keras guide.

    Some epochs of it are run. What the others take is extrapolated from the last one of each stage.
    """
    count = QUICK_PICTURES if place.quick else WHOLE_PICTURES
    return _compare_with_guide(place, count, _extrapolate_guide)


def _compare_with_guide(
    place: Workplace, count: int, rival: Callable[[Path, Path], tuple[Sample, float]]
) -> Sides:
    """`graft run` in mode none on so many pictures, beside a rival.

    Args:
        place: where both work.
        count: of the pictures.
        rival: (pictures, folder) -> what it took, and its accuracy.
    """
    pictures = draw_pictures(place.folder / "pictures", count)
    numbers = itertools.count()
    accuracies: dict[str, list[float]] = {"accuracy": [], "rival's accuracy": []}
    notes = {"pictures": float(count)}

    def note_accuracy(name: str, accuracy: float) -> None:
        accuracies[name].append(accuracy)
        notes[name] = fmean(accuracies[name])

    def take_ours() -> Sample:
        sample, accuracy = run_graft(pictures, place.folder / f"ours-{next(numbers)}", "none")
        note_accuracy("accuracy", accuracy)
        return sample

    def take_rival() -> Sample:
        folder = place.folder / f"rival-{next(numbers)}"
        folder.mkdir()
        sample, accuracy = rival(pictures, folder)
        note_accuracy("rival's accuracy", accuracy)
        return sample

    return Sides(take_ours, take_rival, notes)


def run_graft(pictures: Path, folder: Path, mode: str) -> tuple[Sample, float]:
    """`graft run` without a cache, to its release as SavedModel: what it took, and its accuracy.

    Args:
        pictures: of the parts train, val and test.
        folder: which does not exist.
        mode: of the transfer.
    """
    result = folder / "result.json"
    variables = {
        **_name_run(folder, pictures),
        "GRAFT_BACKBONE_IMAGE_SIZE": str(SIDE),
        "GRAFT_TRANSFER_MODE": mode,
        "GRAFT_EXPORT_FORMATS": "saved_model",
        "GRAFT_RESULT_PATH": str(result),
    }
    sample = time_command((*GRAFT, "run"), variables)
    return sample, json.loads(result.read_text())["scores"]["accuracy"]


def run_guide(
    pictures: Path, folder: Path, *epochs: int, judge: bool = False
) -> tuple[Sample, float]:
    """The Keras guide, which writes `guide.json`: what it took, and its accuracy.

    Args:
        pictures: of the parts train, val and test.
        folder: an empty one.
        epochs: of the head, then of everything.
        judge: after each epoch too.
    """
    command = (*GUIDE, str(pictures), str(folder), str(SIDE), *map(str, epochs))
    sample = time_command((*command, "--judge") if judge else command, name_weights())
    return sample, json.loads((folder / "guide.json").read_text())["accuracy"]


def _extrapolate_guide(pictures: Path, folder: Path) -> tuple[Sample, float]:
    sample, accuracy = run_guide(pictures, folder, *RUN_EPOCHS)
    found = json.loads((folder / "guide.json").read_text())
    seconds, cpu_seconds = sample.seconds, sample.cpu_seconds
    # The last epoch of each stage: the first one reads the pictures and builds a graph.
    for stage, run, whole in zip(("head", "tuning"), RUN_EPOCHS, WHOLE_EPOCHS, strict=True):
        last, cpu_last = found[stage][-1]
        seconds += (whole - run) * last
        cpu_seconds += (whole - run) * cpu_last
    return Sample(seconds, cpu_seconds), accuracy


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

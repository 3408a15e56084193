"""How the solved head grows with images and classes: seconds of CPU and peak memory, as a table.

    python -m tools.bench.scaling                 # each cell in a process of its own
    python -m tools.bench.scaling 5000 1000       # one cell, as JSON

The features are drawn from a seed, as wide as those of EfficientNetLite0. Classes overlap, so that
the penalties differ. 80 % of the images are learnt from, and 20 % judge: a head is solved for each
penalty, as `job.training` does it where 200 images or more judge. Cells beyond what is
measured are marked: each is extrapolated linearly in the images from the two before it.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from job.linear import Sample, solve_path
from job.scores import log_loss

WIDTH = 1280
MEASURED_IMAGES = (1_000, 5_000)
EXTRAPOLATED_IMAGES = (20_000, 50_000)
CLASSES = (2, 100, 1_000)
JUDGED_SHARE = 0.2


def main(images: str = "", classes: str = "") -> None:
    """Measure one cell, or all of them."""
    if images:
        print(json.dumps(measure_cell(int(images), int(classes))))
        return
    print("| classes | images | CPU s | memory, MB |")
    print("| --- | --- | --- | --- |")
    for number in CLASSES:
        cells = [_run_cell(count, number) for count in MEASURED_IMAGES]
        for count, cell in zip(MEASURED_IMAGES, cells, strict=True):
            _print_row(number, f"{count:,}", cell)
        for count in EXTRAPOLATED_IMAGES:
            values = [np.array(cell) for cell in cells]
            slope = (values[1] - values[0]) / (MEASURED_IMAGES[1] - MEASURED_IMAGES[0])
            cell = tuple(values[1] + slope * (count - MEASURED_IMAGES[1]))
            _print_row(number, f"{count:,} (extrapolated)", cell)


def measure_cell(images: int, classes: int) -> tuple[float, float]:
    """Seconds of CPU of one path of penalties, and the megabytes that it adds to its samples."""
    draw = np.random.default_rng(0)
    labels = np.arange(images) % classes
    centres = draw.standard_normal((classes, WIDTH), np.float32)
    noise = draw.standard_normal((images, WIDTH), np.float32)
    features = 0.2 * centres[labels] + noise
    sample = Sample(
        features=features,
        labels=labels,
        targets=np.eye(classes, dtype=np.float32)[labels],
        weights=np.ones(images, np.float32),
    )
    judges = draw.permutation(images) < JUDGED_SHARE * images
    learnt, judged = (sample.take(np.flatnonzero(rows)) for rows in (~judges, judges))
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    began = time.process_time()
    for probe in solve_path(learnt.features, learnt.targets, learnt.weights):
        log_loss(judged.labels, probe.logits(judged.features))
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return seconds, peak - pages * resource.getpagesize() / 2**20


def _run_cell(images: int, classes: int) -> tuple[float, float]:
    command = [sys.executable, "-m", "tools.bench.scaling", str(images), str(classes)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, megabytes = json.loads(done.stdout)
    return seconds, megabytes


def _print_row(classes: int, images: str, cell: tuple[float, ...]) -> None:
    print(f"| {classes:,} | {images} | {cell[0]:.1f} | {cell[1]:.0f} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

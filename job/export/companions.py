"""The files beside the model: labels.json, preprocess.json and the script that follows it."""

import json
import runpy
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from job.export import preprocess
from job.export.export_input import ExportInput


def write(subject: ExportInput, bundle: Path) -> Path:
    """Write the three; returns the script's path."""
    _write_json(bundle / "labels.json", list(subject.classes))
    _write_json(bundle / "preprocess.json", describe(subject.size, subject.fit))
    return Path(shutil.copyfile(preprocess.__file__, bundle / "preprocess.py"))


def describe(size: int, fit: str) -> dict[str, Any]:
    """What ONNX, LiteRT and .keras expect, in words that a program can read."""
    return {
        "schema": 1,
        "shape": ["batch", size, size, 3],
        "dtype": "float32",
        "range": [0, 255],
        "channels": "RGB",
        "size": size,
        "fit": fit,
        "resize": "bilinear, antialiased",
        "background": 255,
        "exif_orientation": "applied",
    }


def run(script: Path, images: Sequence[Path], batch_size: int) -> npt.NDArray[np.float32]:
    """What the shipped script itself makes of the files: float32 [batch_size, size, size, 3]."""
    load = runpy.run_path(str(script))["load"]
    return load([images[index % len(images)] for index in range(batch_size)])


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")

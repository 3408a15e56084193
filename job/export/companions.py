"""Write the files beside the model: labels.json, preprocess.json and preprocess.py."""

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

SCRIPT = "preprocess.py"


def write(export_input: ExportInput, bundle: Path) -> Path:
    """Write the three files. Returns the path of preprocess.py."""
    rules = describe_preprocessing(export_input.size, export_input.fit)
    _write_json(bundle / "labels.json", list(export_input.classes))
    _write_json(bundle / "preprocess.json", rules)
    return Path(shutil.copyfile(preprocess.__file__, bundle / SCRIPT))


def describe_preprocessing(size: int, fit: str) -> dict[str, Any]:
    """Describe, for a program, the input that ONNX, LiteRT and .keras expect."""
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
    """Run the written preprocess.py on image files: float32 [batch_size, size, size, 3]."""
    # The copy in the bundle, not our module: it reads the preprocess.json beside it.
    module = runpy.run_path(str(script))
    # Repeated as `read_padded` does, so that the rows of both are the same images.
    batch = [images[index % len(images)] for index in range(batch_size)]
    return module["load"](batch)


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    path.write_text(f"{text}\n")

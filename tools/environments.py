"""Airflow (145 packages), checkov (96), MLflow (87) and MLServer (69), each apart from ours.

    python -m tools.environments [--lock]

makes them, in a minute where nothing is there yet; `--lock` first takes their newest versions.
An environment lies outside the checkout and is named after its lock, so that a changed lock is
another one.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tools.cache import CACHE, alone

LOCKS = Path(__file__).resolve().parent / "locks"
TOOLS = {
    "airflow": "apache-airflow-providers-cncf-kubernetes",
    "checkov": "checkov",
    "mlflow": "mlflow",
    "mlserver": "mlserver\nonnxruntime",
}
# The oldest Python that we support; its pins install on the newer ones too.
PYTHON = "3.11"
UV = Path(sys.executable).with_name("uv")


def python(tool: str) -> Path:
    """The Python of the tool's environment, made first if need be."""
    folder = CACHE / "environments" / f"{tool}-{_compute_digest(tool)}"
    with alone(folder.with_name(f"{folder.name}.lock")):
        if not (folder / "ready").exists():
            _make_environment(folder, LOCKS / f"{tool}.txt")
    return folder / "bin" / "python"


def _compute_digest(tool: str) -> str:
    pins = (LOCKS / f"{tool}.txt").read_bytes()
    return hashlib.sha256(pins + sys.version.encode()).hexdigest()[:8]


def _make_environment(folder: Path, lock: Path) -> None:
    """Fill a new folder with uv; pip is the fallback where only pip knows which registry to use."""
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    ours, options = folder / "bin" / "python", ["--quiet", "--require-hashes"]
    if subprocess.run(
        [UV, "pip", "sync", *options, "--python", ours, lock], check=False
    ).returncode:
        subprocess.run([ours, "-m", "pip", "install", *options, "--requirement", lock], check=True)
    (folder / "ready").touch()


def lock() -> None:
    """Take the newest versions, with hashes and without naming a registry."""
    options = [
        "--quiet",
        "--generate-hashes",
        "--no-emit-index-url",
        "--no-header",
        "--python-version",
        PYTHON,
    ]
    for tool, packages in TOOLS.items():
        command = [
            str(UV),
            "pip",
            "compile",
            "-",
            *options,
            "--output-file",
            str(LOCKS / f"{tool}.txt"),
        ]
        subprocess.run(command, input=packages, text=True, check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", action="store_true", help="take the newest versions first")
    if parser.parse_args().lock:
        lock()
    for tool in TOOLS:
        print(python(tool))

"""What the tests of the image share: the image, its files, and containers as the chart runs."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.pipeline.conftest import TINY, Ended, draw
from tools.image.build import image_for_tests
from tools.image.engine import Engine, ours
from tools.paths import ROOT

HARDENED = (
    "--network=none",
    "--read-only",
    "--read-only-tmpfs=false",  # podman's own /tmp, /run and /var/tmp, which Kubernetes has not
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
)
# Read before any test, since each test starts without GRAFT_ in its environment.
VARIANT = os.environ.get("GRAFT_TEST_VARIANT", "cpu")
WRITABLE = ("tmp", "cache", "bucket")


@pytest.fixture(scope="session")
def engine() -> Engine:
    return ours()


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    return image_for_tests(engine, VARIANT)


@pytest.fixture(scope="session")
def root(engine: Engine, image: str) -> Iterator[Path]:
    """The image's root folder, to look at."""
    yield Path(engine.ask("image", "mount", image))
    engine.run("image", "unmount", image, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def entries(root: Path) -> dict[str, os.stat_result]:
    """Everything in the image by its path, but for what the kernel mounts there."""
    found = ((folder, name) for folder, folders, files in os.walk(root) for name in folders + files)
    paths = (Path(folder, name) for folder, name in found)
    return {f"/{path.relative_to(root)}": path.lstat() for path in paths}


@dataclass(frozen=True)
class Sandbox:
    """A pod's container: only volumes that nobody owns are writable, and there is no network."""

    engine: Engine
    image: str
    folder: Path
    user: str = ""

    def started(
        self, *argv: str, environment: Mapping[str, str], name: str = ""
    ) -> subprocess.Popen[str]:
        """`podman run`, whose exit code and streams are those of the process in it."""
        volumes = [f"--volume={self.folder / name}:/{name}" for name in WRITABLE]
        volumes += [
            f"--volume={self.folder}/data:/data:ro",
            f"--volume={self.folder}/message:/dev/termination-log",
        ]
        variables = [f"--env={name}={value}" for name, value in environment.items()]
        user = [f"--user={self.user}"] * bool(self.user)
        named = [f"--name={name}"] * bool(name)
        command = [
            self.engine.program,
            "run",
            "--rm",
            *HARDENED,
            *user,
            *volumes,
            *variables,
            *named,
        ]
        return subprocess.Popen(
            [*command, self.image, *argv],
            env={**os.environ, **self.engine.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def graft(self, *argv: str, **environment: str) -> Ended:
        process = self.started(*argv, environment=environment)
        out, err = process.communicate(timeout=300)
        return Ended(process.returncode, out, err)

    def of(self, user: str) -> "Sandbox":
        return replace(self, user=user)

    @property
    def message(self) -> str:
        """What the kubelet would read as the termination message."""
        return (self.folder / "message").read_text()


@pytest.fixture
def sandbox(engine: Engine, image: str, tmp_path: Path) -> Sandbox:
    for name in WRITABLE:
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o1777)  # as an emptyDir is
    draw(tmp_path / "data")
    (tmp_path / "message").touch()
    (tmp_path / "message").chmod(0o666)
    tmp_path.chmod(0o755)
    return Sandbox(engine, image, tmp_path)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """What the image is made of, in a folder that may be changed."""
    copy = tmp_path / "context"
    for name in ("job", "requirements"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "tools/image").mkdir(parents=True)
    for name in (
        "Dockerfile",
        ".dockerignore",
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "tools/image/cyclonedx.txt",
    ):
        shutil.copy2(ROOT / name, copy / name)
    return copy


RUN = TINY | {
    "GRAFT_DATASET_URI": "file:///data",
    "GRAFT_OUTPUT_URI": "file:///bucket",
    "GRAFT_BACKBONE_WEIGHTS": "none",
    "GRAFT_TRANSFER_MODE": "all",
    "GRAFT_TRAINING_EPOCHS": "2",
}
"""The smallest run, from a folder into a folder."""
